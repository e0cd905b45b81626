/**
 * The program of a nursery, and how it is spoken to. It is Perl's without any module, as a process that shall fork in a fraction of a millisecond has
 * to be small, and a shell's children in the background would ignore SIGINT and SIGQUIT for good. Pure: data in, text out.
 */

/** Where a child finds its gate: a stream on which it says that it waits, and is let on. */
export const GATE_FD = 3;

/** What a child does before its program runs, in this order. */
export interface NurseryRequest {
  readonly id: number;
  /** File for its standard error, made anew. The other streams lead nowhere. */
  readonly stderr: string;
  /** Groups that it joins: what takes one thread, or is empty, and what takes what that has refused. */
  readonly joins: readonly { readonly thread: string; readonly process: string }[];
  /** Socket that it connects GATE_FD with. */
  readonly gate?: string | undefined;
  /** It says `ready` at its gate and waits for a line there. */
  readonly hold?: boolean | undefined;
  /** Its program has the gate as well. */
  readonly keepsGate?: boolean | undefined;
  /** Has to be none. */
  readonly link?: { readonly path: string; readonly why: string } | undefined;
  /** That are made with it, all in one: a child with its own mounts has them private. */
  readonly namespaces: readonly NamespaceKind[];
  readonly mounts: readonly { readonly type: string; readonly target: string }[];
  readonly command: string;
  readonly args: readonly string[];
}

export type NamespaceKind = keyof typeof NAMESPACES;

/** Flags of clone(2). */
const NAMESPACES = { mount: 0x2_0000, pid: 0x2000_0000, net: 0x4000_0000 };
/** Of clone(2): what the parent is told by when it ends. */
const SIGCHLD = 17;
/** Flags of mount(2): nosuid, nodev, noexec. */
const NOTHING_SPECIAL = 2 | 4 | 8;
const PRIVATE_WITH_ALL_BELOW = 0x4_4000;

/** Numbers of system calls, where clone(2) takes its flags first. */
const COMMON_CALLS = { clone: 220, mount: 40 };
const CALLS: ReadonlyMap<string, typeof COMMON_CALLS> = new Map([
  ['x64', { clone: 56, mount: 165 }],
  ['arm64', COMMON_CALLS],
  ['riscv64', COMMON_CALLS],
  ['loong64', COMMON_CALLS],
]);

/** Exit status of a child that could not do its part. */
const SETUP_FAILED = 125;

/** Length of what follows, then the words, each with a zero behind it. */
export function encodeRequest(request: NurseryRequest): Buffer {
  const { id, stderr, joins, gate = '', hold = false, keepsGate = false, link, namespaces, mounts } = request;
  const flags = namespaces.reduce((all, kind) => all | NAMESPACES[kind], SIGCHLD);
  const words = [
    String(id),
    String(flags),
    stderr,
    gate,
    hold ? '1' : '',
    keepsGate ? '1' : '',
    link?.path ?? '',
    link?.why ?? '',
    String(joins.length),
    ...joins.flatMap(({ thread, process }) => [thread, process]),
    namespaces.includes('mount') ? '1' : '',
    String(mounts.length),
    ...mounts.flatMap(({ type, target }) => [type, target]),
    request.command,
    ...request.args,
  ];
  const body = Buffer.from(words.map((word) => `${word}\0`).join(''));
  return Buffer.concat([Buffer.from(`${body.length}\n`), body]);
}

export type NurseryEvent =
  /** It has been made: `pid` as this host's /proc numbers it. */
  | { readonly id: number; readonly type: 'runs'; readonly pid: number }
  | { readonly id: number; readonly type: 'refused'; readonly why: string }
  /** As waitpid(2) says: exit status above, signal below. */
  | { readonly id: number; readonly type: 'ended'; readonly status: number };

/** Undefined for a line that is none of its. */
export function parseEvent(line: string): NurseryEvent | undefined {
  const [, number, type, rest = ''] = /^(\d+) (runs|refused|ended) (.*)$/.exec(line) ?? [];
  const id = Number(number);
  if (type === 'runs') return { id, type, pid: Number(rest) };
  if (type === 'refused') return { id, type, why: rest };
  if (type === 'ended') return { id, type, status: Number(rest) };
  return undefined;
}

/**
 * It ends with its standard input. Its /proc has to be the caller's, whatever namespace of processes it is in. Undefined for machines whose system
 * calls are not known here.
 */
export function nurseryProgram(arch: string): string | undefined {
  const calls = CALLS.get(arch);
  if (calls === undefined) return undefined;
  return `
pipe(my $waking, my $waker) or die "pipe: $!";
$SIG{CHLD} = sub { syswrite $waker, "." };
my ($text, %id_of) = ("");
sub report { syswrite STDOUT, "@_\\n" }
sub fail { print STDERR "@_\\n"; exit ${SETUP_FAILED} }

sub put {
  my ($word, $file) = @_;
  open my $handle, ">", $file or return;
  return defined syswrite $handle, $word;
}

sub attach {
  my ($source, $target, $type, $flags) = @_;
  syscall(${calls.mount}, $source, $target, $type, $flags, 0) == 0 or fail("cannot mount $type on $target: $!");
}

sub become {
  my ($id, $stderr, $gate, $hold, $keeps_gate, $link, $why, $joins, @rest) = @_;
  open STDERR, ">", $stderr or exit ${SETUP_FAILED};
  report($id, "runs", readlink "/proc/self");
  open STDIN, "<", "/dev/null";
  open STDOUT, ">", "/dev/null";
  close $waking;
  close $waker;
  for (1 .. $joins) {
    my ($thread, $process) = splice @rest, 0, 2;
    next if $thread ne "" && put(0, $thread);
    put(0, $process) or fail("cannot write 0 to $process: $!");
  }
  my $socket;
  if ($gate ne "") {
    $^F = ${GATE_FD};
    socket($socket, 1, 1, 0) && connect($socket, pack("S a*", 1, "$gate\\0")) or fail("cannot reach $gate: $!");
    fileno $socket == ${GATE_FD} or fail("descriptor ${GATE_FD} is taken");
  }
  if ($hold) {
    syswrite $socket, "ready\\n";
    sysread $socket, my $line, 64 or exit ${SETUP_FAILED};
  }
  close $socket if $gate ne "" && !$keeps_gate;
  attach("none", "/", "", ${PRIVATE_WITH_ALL_BELOW}) if shift @rest;
  for (1 .. shift @rest) {
    my ($type, $target) = splice @rest, 0, 2;
    attach($type, $target, $type, ${NOTHING_SPECIAL});
  }
  fail($why) if $link ne "" && -l $link;
  exec { $rest[0] } @rest or fail("cannot execute $rest[0]: $!");
}

for (;;) {
  my $ready = "";
  vec($ready, fileno $_, 1) = 1 for *STDIN, $waking;
  next if select($ready, undef, undef, undef) < 1;
  if (vec $ready, fileno $waking, 1) {
    sysread $waking, my $drop, 4096;
    while ((my $pid = waitpid -1, 1) > 0) { report(delete $id_of{$pid}, "ended", $?) if exists $id_of{$pid} }
  }
  next unless vec $ready, 0, 1;
  sysread STDIN, $text, 65536, length $text or exit;
  while ($text =~ /^(\\d+)\\n/) {
    my ($size, $from) = ($1, length $&);
    last if length $text < $from + $size;
    my ($id, $flags, @request) = split /\\0/, substr($text, $from, $size), -1;
    pop @request;
    substr($text, 0, $from + $size) = "";
    my $pid = syscall(${calls.clone}, 0 + $flags, 0, 0, 0, 0);
    become($id, @request) if $pid == 0;
    $pid > 0 ? $id_of{$pid} = $id : report($id, "refused", $!);
  }
}
`;
}
