/**
 * Why the kernel refuses a change of a cgroup, and what to do: one table over operation, file and errno. Texts only; the kernel's
 * documentation is Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
 */

export interface KernelRule {
  readonly rule: string;
  readonly fix: string;
}

export type CgroupOperation = 'make' | 'write' | 'read' | 'remove' | 'move';

interface RuleRow extends KernelRule {
  readonly operation: CgroupOperation;
  /** The file's name, or what it begins with when it ends with an asterisk; absent: any. */
  readonly file?: string;
  readonly errno: string;
}

const PREPARE = "run 'nestling ci prepare --cgroups' ('=move' where other programs are in the group)";
const DELEGATE = "start the program under 'systemd-run --scope -p Delegate=yes', or as root";

const RULES: readonly RuleRow[] = [
  {
    operation: 'write',
    file: 'cgroup.subtree_control',
    errno: 'EBUSY',
    rule: 'a group that holds processes cannot give memory, io or other domain controllers to its children',
    fix: `move the processes into a child group: ${PREPARE}`,
  },
  {
    operation: 'write',
    file: 'cgroup.subtree_control',
    errno: 'EOPNOTSUPP',
    rule: 'a threaded group takes threaded controllers only (cpu, cpuset, pids, perf_event)',
    fix: `write '-cpu -cpuset -pids' to its cgroup.subtree_control to make it a domain again: ${PREPARE}`,
  },
  {
    operation: 'write',
    file: 'cgroup.subtree_control',
    errno: 'ENOENT',
    rule: 'the controller is not in cgroup.controllers here: the parent does not hand it down, or v1 has it',
    fix: 'enable it in every group above, or boot with cgroup_no_v1=all',
  },
  {
    operation: 'write',
    file: 'cgroup.subtree_control',
    errno: 'EINVAL',
    rule: 'there is no controller of that name; or it is cpu, and a process with real-time priority is in a group below',
    fix: 'see cgroup.controllers for those that there are, and end real-time processes or boot without RT_GROUP_SCHED',
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'EOPNOTSUPP',
    rule: 'the group is domain invalid: a group above it is threaded',
    fix: `give it a parent that is a domain: ${PREPARE}`,
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'EBUSY',
    rule: 'a group that has controllers enabled for its children holds no processes itself',
    fix: 'put the process into a child group',
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'ENOSPC',
    rule: 'a v1 cpuset without CPUs or memory nodes takes no processes',
    fix: 'set cpuset.cpus and cpuset.mems first, beginning with the parent',
  },
  {
    operation: 'write',
    file: 'tasks',
    errno: 'ENOSPC',
    rule: 'a v1 cpuset without CPUs or memory nodes takes no processes',
    fix: 'set cpuset.cpus and cpuset.mems first, beginning with the parent',
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'ENOENT',
    rule: 'the target lies outside of what this cgroup namespace may see',
    fix: 'start the process inside the namespace',
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'EACCES',
    rule: 'moving a process takes write access to cgroup.procs of the common ancestor too',
    fix: DELEGATE,
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'EINVAL',
    rule: 'the process cannot be moved: a kernel thread, or a real-time one into a group without real-time budget',
    fix: 'leave it where it is',
  },
  {
    operation: 'write',
    file: 'cgroup.procs',
    errno: 'ESRCH',
    rule: 'the process has ended',
    fix: 'start it again',
  },
  {
    operation: 'write',
    file: 'cgroup.kill',
    errno: 'EOPNOTSUPP',
    rule: 'only whole processes are killed, and a threaded group holds threads',
    fix: 'kill the group above it',
  },
  {
    operation: 'write',
    file: 'cgroup.type',
    errno: 'EOPNOTSUPP',
    rule: 'the parent has domain controllers enabled for its children, so none of them can be threaded',
    fix: 'enable only cpu and cpuset there',
  },
  {
    operation: 'write',
    file: 'memory.*',
    errno: 'EBUSY',
    rule: 'the limit is below what the group uses, and the kernel cannot free enough',
    fix: 'set a higher limit, or shrink the guest first',
  },
  {
    operation: 'write',
    file: 'memory.memsw.*',
    errno: 'EINVAL',
    rule: 'the limit of memory and swap together cannot be below that of memory',
    fix: 'raise swap_hard_limit first, or lower hard_limit first',
  },
  {
    operation: 'write',
    file: 'memory.limit_in_bytes',
    errno: 'EINVAL',
    rule: 'the limit of memory cannot be above that of memory and swap together',
    fix: 'raise swap_hard_limit first',
  },
  {
    operation: 'write',
    file: 'memory.memsw.*',
    errno: 'ENOENT',
    rule: 'this kernel does not count swap',
    fix: 'boot with swapaccount=1, or leave swap_hard_limit out',
  },
  {
    operation: 'write',
    file: 'cpu.cfs_*',
    errno: 'EINVAL',
    rule: 'quota over period cannot be above that of a group higher up, nor a period outside of 1 ms to 1 s',
    fix: 'lower the quota, or raise the limit above',
  },
  {
    operation: 'write',
    file: 'cpu.max',
    errno: 'EINVAL',
    rule: 'the period is 1 ms to 1 s, the quota at least 1 ms',
    fix: 'correct <period> and <quota>',
  },
  {
    operation: 'write',
    file: 'cpuset.*',
    errno: 'EINVAL',
    rule: 'the host, or the group above, does not have all of these CPUs or memory nodes',
    fix: "see 'nestling capabilities' for those that there are",
  },
  {
    operation: 'write',
    file: 'cpuset.*',
    errno: 'EBUSY',
    rule: 'a group in a v1 cpuset still uses a CPU or memory node that would be taken away',
    fix: 'change the cpusets below it first',
  },
  {
    operation: 'write',
    file: 'cpuset.*',
    errno: 'EACCES',
    rule: 'a v1 cpuset cannot have what its parent has not',
    fix: "set the parent's cpuset first",
  },
  {
    operation: 'write',
    file: 'cpuset.*',
    errno: 'ENOSPC',
    rule: 'a v1 cpuset that holds processes cannot be emptied',
    fix: 'give it at least one CPU and one memory node',
  },
  {
    operation: 'write',
    file: 'io.*',
    errno: 'ENODEV',
    rule: 'there is no block device of that number, or it is a partition',
    fix: 'name the whole disk',
  },
  {
    operation: 'write',
    file: 'blkio.*',
    errno: 'ENODEV',
    rule: 'there is no block device of that number, or it is a partition',
    fix: 'name the whole disk',
  },
  {
    operation: 'write',
    file: 'blkio.*',
    errno: 'ENOENT',
    rule: 'this kernel or the scheduler of the disk has no weights',
    fix: 'choose the bfq scheduler for the disk, or leave the weight out',
  },
  {
    operation: 'write',
    file: 'io.*weight',
    errno: 'ENOENT',
    rule: 'weights need the bfq scheduler or io.cost, and this kernel has neither',
    fix: 'load bfq, or leave the weight out',
  },
  {
    operation: 'write',
    file: 'devices.*',
    errno: 'EPERM',
    rule: 'a group cannot allow what the one above denies (the device list of a container)',
    fix: 'start the container with the device, for instance docker run --device /dev/kvm',
  },
  {
    operation: 'write',
    errno: 'ENOENT',
    rule: 'the file is not there: the controller is not enabled in the group above, or the kernel is too old for it',
    fix: PREPARE,
  },
  {
    operation: 'write',
    errno: 'ERANGE',
    rule: 'the number is outside of what the kernel takes',
    fix: 'correct the value',
  },
  {
    operation: 'write',
    errno: 'EINVAL',
    rule: 'the kernel does not take this value',
    fix: 'correct the value',
  },
  {
    operation: 'remove',
    errno: 'EBUSY',
    rule: 'it still has processes or groups in it',
    fix: 'end or move them first',
  },
  {
    operation: 'make',
    errno: 'EAGAIN',
    rule: 'cgroup.max.descendants or cgroup.max.depth of a group above is reached',
    fix: 'remove groups that nobody uses: nestling gc',
  },
  {
    operation: 'make',
    errno: 'ENOENT',
    rule: 'the group above it does not exist',
    fix: 'make it first: nestling partition create',
  },
  {
    operation: 'make',
    errno: 'EEXIST',
    rule: 'a kernel file has that name',
    fix: 'choose another name',
  },
];

/** What holds whatever the file. */
const ANY: Readonly<Record<string, KernelRule>> = {
  EROFS: {
    rule: 'the hierarchy is mounted read-only',
    fix: 'run the container with --privileged, or -v /sys/fs/cgroup:/sys/fs/cgroup:rw and --cgroupns=private',
  },
  EACCES: { rule: "the group is not this user's", fix: DELEGATE },
  EPERM: { rule: 'the caller may not change this group', fix: DELEGATE },
  ENODEV: { rule: 'the group has been removed meanwhile', fix: 'try again' },
  ENOSPC: { rule: 'the kernel has no room for another group', fix: 'remove groups that nobody uses: nestling gc' },
  ENOMEM: { rule: 'the kernel has no memory for it', fix: 'free some memory' },
};

/** The rule behind an errno; undefined for one that is not known. */
export function ruleOf(operation: CgroupOperation, file: string | undefined, errno: string): KernelRule | undefined {
  const row = RULES.find((candidate) => {
    if (candidate.operation !== operation || candidate.errno !== errno) return false;
    return candidate.file === undefined || matches(candidate.file, file ?? '');
  });
  return row === undefined ? ANY[errno] : { rule: row.rule, fix: row.fix };
}

/** An asterisk stands for any text. */
function matches(pattern: string, file: string): boolean {
  const [head = '', tail] = pattern.split('*');
  return tail === undefined ? file === pattern : file.startsWith(head) && file.endsWith(tail);
}
