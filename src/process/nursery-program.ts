/**
 * The program of a nursery, and how it is spoken to. It is Perl's without any module, as a process that shall fork in a fraction of a millisecond has
 * to be small, and a shell's children in the background would ignore SIGINT and SIGQUIT for good. Pure: data in, text out.
 */

/** Where a child finds its gate: a stream on which it says that it waits, and is let on. */
export const GATE_FD = 3;
/** Where a nursery is asked, and answers. */
export const TALK_FD = 4;

/** What a child does before its program runs, in this order. */
export interface NurseryRequest {
  readonly id: number;
  /** File for its standard error, made anew or, where it has been there before, written on. The other streams lead nowhere. */
  readonly stderr: string;
  readonly appends?: boolean | undefined;
  /** `cgroup.procs` files of the groups that it joins, or any file that takes a pid; as a thread where that will do, see `group-join.ts`. */
  readonly cgroupProcs?: readonly string[] | undefined;
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
  readonly mounts: readonly NurseryMount[];
  /** In what has been mounted, in this order. */
  readonly files?: readonly NurseryFile[] | undefined;
  /** Folder that it works in; default: the nursery's, which is its maker's. */
  readonly cwd?: string | undefined;
  /** Added to the environment that it has from the nursery. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  readonly command: string;
  readonly args: readonly string[];
  /** Path of a link that is made where it executes a copy of the program, or tells somebody of it: lists of processes show that name. */
  readonly copyAt?: string | undefined;
}

/** A file system of its own. */
export interface NurseryMount {
  readonly type: string;
  /** What it calls itself where mounts are listed; default: its type. */
  readonly name?: string | undefined;
  readonly target: string;
  /** Options of the file system itself, as mount(2) takes them. */
  readonly data?: string | undefined;
  /** With device nodes and programs; never with programs of other users. */
  readonly withNodes?: boolean | undefined;
}

export type NurseryFile =
  /** A device of the host's: a character node, or the host's own bound there where the kernel lets nobody make nodes. */
  | {
      readonly kind: 'node';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
      readonly source: string;
    }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** Empty: something is to be mounted on it. */
  | { readonly kind: 'file'; readonly path: string };

export type NamespaceKind = keyof typeof NAMESPACES;

/** Flags of clone(2). */
const NAMESPACES = { mount: 0x2_0000, pid: 0x2000_0000, net: 0x4000_0000 };
/** Of clone(2): what the parent is told by when it ends. */
const SIGCHLD = 17;
/** Flags of mount(2). */
const NOSUID = 2;
const NODEV_NOEXEC = 4 | 8;
const BIND = 0x1000;
const PRIVATE_WITH_ALL_BELOW = 0x4_4000;
/** Of mknod(2): a character device. */
const CHARACTER = 0o20_000;
/** Of openat(2) and its kin: from the working directory. */
const AT_FDCWD = -100;
/** Of memfd_create(2): closed by execve(2), can be sealed, and executed wherever that has to be said (Linux 6.3). */
const MEMFD = { cloexec: 1, sealable: 2, executable: 0x10 };
/** Of fcntl(2), and all seals that forbid changes, themselves included. */
const FCNTL = { setFd: 2, dupCloexec: 1030, addSeals: 1033 };
const ALL_SEALS = 0xf;

/** Numbers of system calls, where clone(2) takes its flags first. */
const COMMON_CALLS = { clone: 220, unshare: 97, mount: 40, mknodat: 33, memfdCreate: 279 };
const CALLS: ReadonlyMap<string, typeof COMMON_CALLS> = new Map([
  ['x64', { clone: 56, unshare: 272, mount: 165, mknodat: 259, memfdCreate: 319 }],
  ['arm64', COMMON_CALLS],
  ['riscv64', COMMON_CALLS],
  ['loong64', COMMON_CALLS],
]);

/** Where a nursery has the copy of its program. */
const COPY_FD = 10;

/** Exit status of a child that could not do its part. */
const SETUP_FAILED = 125;

/** Length of what follows, then the words, each with a zero behind it. */
export function encodeRequest(request: NurseryRequest): Buffer {
  const { id, stderr, appends = false, cgroupProcs = [], gate = '', hold = false, keepsGate = false, link } = request;
  const { namespaces, mounts, files = [], variables = {}, cwd = '' } = request;
  const flags = namespaces.reduce((all, kind) => all | NAMESPACES[kind], SIGCHLD);
  const words = [
    String(id),
    String(flags),
    stderr,
    appends ? '1' : '',
    gate,
    hold ? '1' : '',
    keepsGate ? '1' : '',
    link?.path ?? '',
    link?.why ?? '',
    String(cgroupProcs.length),
    ...cgroupProcs,
    namespaces.includes('mount') ? '1' : '',
    String(mounts.length),
    ...mounts.flatMap(({ type, name = type, target, data = '', withNodes = false }) => [
      name,
      type,
      target,
      String(withNodes ? NOSUID : NOSUID | NODEV_NOEXEC),
      data,
    ]),
    String(files.length),
    ...files.flatMap(wordsOfFile),
    String(Object.keys(variables).length),
    ...Object.entries(variables).flat(),
    cwd,
    request.copyAt ?? '',
    request.command,
    ...request.args,
  ];
  return encodeWords(words);
}

/** Asks for a spare, which waits for its request at its gate. */
export function encodeSpare({ id, gate }: { readonly id: number; readonly gate: string }): Buffer {
  return encodeWords([String(id), SPARE, gate]);
}

function encodeWords(words: readonly string[]): Buffer {
  const body = Buffer.from(words.map((word) => `${word}\0`).join(''));
  return Buffer.concat([Buffer.from(`${body.length}\n`), body]);
}

function wordsOfFile(file: NurseryFile): string[] {
  if (file.kind === 'file') return ['file', file.path, '', '', ''];
  if (file.kind === 'link') return ['link', file.path, file.target, '', ''];
  const { path, source, mode, major, minor } = file;
  // As the kernel has device numbers in 32 bits.
  const number = ((minor >> 8) * 2 ** 20) | (major << 8) | (minor & 0xff);
  return ['node', path, source, String(mode), String(number)];
}

/** In the place of a request's flags. */
const SPARE = 'spare';

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
 * It ends when nobody speaks to it any more. Its /proc has to be the caller's, whatever namespace of processes it is in. Its first argument, if any, is a program
 * that copies itself to a sealed file in memory and executes that copy, as OCI runtimes do, lest what they run changes them (CVE-2019-5736): here the
 * copy is made once. Children execute it where they are to execute the program, and so does whoever is told the program's path in an option.
 * A spare is a child that was made in advance, with a namespace of processes, and has reached its gate; whatever else its request says it does then.
 * Undefined for machines whose system calls are not known here.
 */
export function nurseryProgram(arch: string): string | undefined {
  const calls = CALLS.get(arch);
  if (calls === undefined) return undefined;
  return `
open my $talk, "+<&=", ${TALK_FD} or die "descriptor ${TALK_FD}: $!";
open STDIN, "<&", $talk and open STDOUT, ">&", $talk or die "descriptor ${TALK_FD}: $!";
close $talk;
pipe(my $waking, my $waker) or die "pipe: $!";
$SIG{CHLD} = sub { syswrite $waker, "." };
my ($text, %id_of) = ("");
sub report { syswrite STDOUT, "@_\\n" }
sub fail { print STDERR "@_\\n"; exit ${SETUP_FAILED} }

sub put {
  my ($word, $file) = @_;
  sysopen my $handle, $file, 1 or return;
  return defined syswrite $handle, $word;
}

sub join_group {
  my ($file) = @_;
  my ($group) = $file =~ m{^(.*)/cgroup\\.procs$}s;
  return 1 if defined $group && (put(0, "$group/tasks") || put(0, "$group/cgroup.threads"));
  return put(0, $file);
}

sub attach {
  my ($source, $target, $type, $flags, $data) = @_;
  syscall(${calls.mount}, $source, $target, $type, 0 + $flags, $data) == 0 or fail("cannot mount " . ($type || $source) . " on $target: $!");
}

sub create {
  my ($kind, $path, $what, $mode, $number) = @_;
  return symlink($what, $path) || fail("cannot make the link $path: $!") if $kind eq "link";
  if ($kind eq "node" && syscall(${calls.mknodat}, ${AT_FDCWD}, $path, ${CHARACTER}, 0 + $number) == 0) {
    chmod $mode, $path or fail("cannot change the mode of $path: $!");
    return;
  }
  open my $file, ">", $path or fail("cannot make $path: $!");
  attach($what, $path, "", ${BIND}, "") if $kind eq "node";
}

my $copied = "";
sub copy {
  my ($program) = @_;
  open my $from, "<", $program or return;
  sysread $from, my $start, 4;
  return if $start ne "\\x7fELF";
  my ($name, $flags) = ($program =~ m{([^/]*)$}, ${MEMFD.cloexec | MEMFD.sealable});
  my $fd = syscall(${calls.memfdCreate}, $name, $flags | ${MEMFD.executable});
  $fd = syscall(${calls.memfdCreate}, $name, $flags) if $fd < 0;
  return if $fd < 0;
  open my $to, "+<&=", $fd or return;
  my $part = $start;
  do { syswrite $to, $part } while sysread $from, $part, 65536;
  return unless (stat $to)[2] & 0100 && -s $to == -s $from && fcntl $to, ${FCNTL.addSeals}, ${ALL_SEALS};
  my $kept = fcntl $to, ${FCNTL.dupCloexec}, ${COPY_FD};
  $copied = $program if $kept == ${COPY_FD};
}

sub reach {
  my ($gate, $socket) = @_;
  close $_ for $waking, $waker;
  $^F = ${GATE_FD};
  socket($socket, 1, 1, 0) && connect($socket, pack("S a*", 1, "$gate\\0")) or fail("cannot reach $gate: $!");
  fileno $socket == ${GATE_FD} or fail("descriptor ${GATE_FD} is taken");
  return $socket;
}

sub become {
  my ($socket, $id, $namespaces, $stderr, $appends, $gate, $hold, $keeps_gate, $link, $why, $joins, @rest) = @_;
  open STDERR, $appends ? ">>" : ">", $stderr or exit ${SETUP_FAILED};
  report($id, "runs", readlink "/proc/self");
  open STDIN, "<", "/dev/null";
  open STDOUT, ">", "/dev/null";
  $namespaces == 0 || syscall(${calls.unshare}, 0 + $namespaces) == 0 or fail("cannot have namespaces of its own: $!");
  for (1 .. $joins) {
    my $file = shift @rest;
    join_group($file) or fail("cannot write 0 to $file: $!");
  }
  $socket = reach($gate) if $gate ne "" && !defined $socket;
  if ($hold) {
    syswrite $socket, "ready\\n";
    sysread $socket, my $line, 64 or exit ${SETUP_FAILED};
  }
  close $socket if defined $socket && !$keeps_gate;
  attach("none", "/", "", ${PRIVATE_WITH_ALL_BELOW}, "") if shift @rest;
  for (1 .. shift @rest) {
    my ($name, $type, $target, $flags, $data) = splice @rest, 0, 5;
    attach($name, $target, $type, $flags, $data);
  }
  create(splice @rest, 0, 5) for 1 .. shift @rest;
  for (1 .. shift @rest) {
    my ($name, $value) = splice @rest, 0, 2;
    $ENV{$name} = $value;
  }
  fail($why) if $link ne "" && -l $link;
  my $folder = shift @rest;
  $folder eq "" || chdir $folder or fail("cannot work in $folder: $!");
  my ($copy_at, $program, $copy) = (shift @rest, $rest[0]);
  if ($copied ne "" && $copy_at ne "" && symlink "/proc/self/fd/${COPY_FD}", $copy_at) {
    $program = $copy_at if $program eq $copied;
    if (grep s{=\\Q$copied\\E$}{=$copy_at}, @rest) {
      open $copy, "<&=", ${COPY_FD};
      fcntl $copy, ${FCNTL.setFd}, 0;
    }
  }
  exec { $program } @rest or fail("cannot execute $rest[0]: $!");
}

sub words {
  my @words = split /\\0/, shift, -1;
  pop @words;
  return @words;
}

sub take {
  my ($text) = @_;
  return unless $$text =~ /^(\\d+)\\n/;
  my ($size, $from) = ($1, length $&);
  return if length $$text < $from + $size;
  my @request = words(substr $$text, $from, $size);
  substr($$text, 0, $from + $size) = "";
  return @request;
}

sub wait_for {
  my ($socket) = @_;
  my ($size, $text) = ("", "");
  while ($size !~ /\\n/) { sysread $socket, $size, 1, length $size or exit }
  while (length $text < $size) { sysread $socket, $text, $size - length $text, length $text or exit }
  return words($text);
}

sub make_spare {
  my ($id, $gate) = @_;
  my $pid = syscall(${calls.clone}, ${NAMESPACES.pid | SIGCHLD}, 0, 0, 0, 0);
  return $pid if $pid != 0;
  $SIG{CHLD} = "DEFAULT";
  $0 = "nestling-nursery (spare)";
  my $socket = reach($gate);
  report($id, "runs", readlink "/proc/self");
  my ($own, $flags, @request) = wait_for($socket);
  become($socket, $own, $flags & ${NAMESPACES.mount | NAMESPACES.net}, @request);
}

copy($ARGV[0]) if @ARGV;
$0 = "nestling-nursery";

for (;;) {
  my $ready = "";
  vec($ready, fileno $_, 1) = 1 for *STDIN, $waking;
  next if select($ready, undef, undef, undef) < 1;
  if (vec $ready, fileno $waking, 1) {
    sysread $waking, my $drop, 4096;
    while ((my $pid = waitpid -1, 1) > 0) {
      report(delete $id_of{$pid}, "ended", $?) if exists $id_of{$pid};
    }
  }
  next unless vec $ready, 0, 1;
  sysread STDIN, $text, 65536, length $text or exit;
  while (my ($id, $flags, @request) = take(\\$text)) {
    my $pid = $flags eq "${SPARE}" ? make_spare($id, @request) : syscall(${calls.clone}, 0 + $flags, 0, 0, 0, 0);
    become(undef, $id, 0, @request) if $pid == 0;
    $pid > 0 ? $id_of{$pid} = $id : report($id, "refused", $!);
  }
}
`;
}
