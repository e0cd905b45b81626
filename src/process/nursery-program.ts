/**
 * The program of a nursery. It is Perl's without any module, as a process that shall fork in a fraction of a millisecond has to be small, and a shell's
 * children in the background would ignore SIGINT and SIGQUIT for good. Pure: data in, text out.
 */
import { BPF, BPF_CALLS } from '../core/bpf-call.ts';
import { GATE_FD, NAMESPACES, SIGCHLD, SPARE, TALK_FD } from './nursery-words.ts';

/** Flags of mount(2). */
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

/** Of errno(3), as Perl's names of them are a module. */
const EAGAIN = 11;

/** Where a nursery has the copy of its program. */
const COPY_FD = 10;

/** Exit status of a child that could not do its part. */
const SETUP_FAILED = 125;

/**
 * It ends when nobody speaks to it any more. Its /proc has to be the caller's, whatever namespace of processes it is in. Its first argument, if any, is a program
 * that copies itself to a sealed file in memory and executes that copy, as OCI runtimes do, lest what they run changes them (CVE-2019-5736): here the
 * copy is made once. Children execute it where they are to execute the program, and so does whoever is told the program's path in an option. BPF programs
 * come after it, see `nurseryArguments`: they are loaded for the first spare, or by a child that needs one before there is any.
 * A spare is a child that was made in advance, with a namespace of processes, and has reached its gate; whatever else its request says it does then.
 * Undefined for machines whose system calls are not known here.
 */
export function nurseryProgram(arch: string): string | undefined {
  const calls = CALLS.get(arch);
  const bpf = BPF_CALLS[arch];
  if (calls === undefined || bpf === undefined) return undefined;
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

my ($license, @programs) = ("Apache-2.0\\0", @ARGV[1 .. $#ARGV]);
sub bpf {
  my ($command, $attribute) = @_;
  return syscall(${bpf}, $command, $attribute . "\\0" x (${BPF.attributeBytes} - length $attribute), ${BPF.attributeBytes});
}

sub load_program {
  my ($place) = @_;
  return if ref $programs[$place];
  my ($type, $as, $name, $hex) = split /:/, $programs[$place];
  my $code = pack "H*", $hex;
  my $load = pack("L L p p x24 a16", $type, length($code) / 8, $code, $license, $name);
  my $fd = -1;
  for (1 .. ${BPF.maxTries}) {
    $fd = bpf(${BPF.load}, $load);
    last unless $fd < 0 && $! == ${EAGAIN};
  }
  $programs[$place] = [$fd, $as];
}

sub attach_program {
  my ($place, $group) = @_;
  load_program($place);
  my ($fd, $as) = @{$programs[$place]};
  sysopen my $directory, $group, 0 or return;
  bpf(${BPF.attach}, pack("L L L L", fileno $directory, $fd, $as, ${BPF.allowMulti})) if $fd >= 0;
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
  attach_program(splice @rest, 0, 2) for 1 .. shift @rest;
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
  load_program($_) for 0 .. $#programs;
  my $pid = syscall(${calls.clone}, ${NAMESPACES.pid | SIGCHLD}, 0, 0, 0, 0);
  return $pid if $pid != 0;
  $SIG{CHLD} = "DEFAULT";
  $0 = "nestling-nursery (spare)";
  my $socket = reach($gate);
  report($id, "runs", readlink "/proc/self");
  my ($own, $flags, @request) = wait_for($socket);
  become($socket, $own, $flags & ${NAMESPACES.mount | NAMESPACES.net}, @request);
}

copy($ARGV[0]) if @ARGV && $ARGV[0] ne "";
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
