/**
 * Why a v2 group cannot be made fit for guests: errors that are known before anything is tried, each with the kernel's rule and what to do.
 */
import { CgroupError } from './action.ts';
import { type CgroupHierarchy, type CgroupHost, v2Hierarchy } from './host.ts';

/** What is missing on a host whose v2 hierarchy cannot be prepared. @returns undefined when v1 has controllers, which need nothing */
export function unusableError(host: CgroupHost): CgroupError | undefined {
  if (host.hierarchies.some(({ version, controllers }) => version === 1 && controllers.length > 0)) return undefined;
  const unified = v2Hierarchy(host);
  if (unified === undefined) {
    return new CgroupError({
      operation: 'prepare',
      directory: '/sys/fs/cgroup',
      rule: 'no cgroup hierarchy is mounted',
      fix: 'mount one: mount -t cgroup2 none /sys/fs/cgroup',
    });
  }
  return new CgroupError({
    operation: 'prepare',
    directory: unified.mountPoint,
    rule: "this process's own group is not below what is mounted there",
    fix: 'start the container with --cgroupns=private, or mount cgroup2 inside its cgroup namespace',
  });
}

export function populatedError(directory: string, foreign: readonly number[], missing: readonly string[]): CgroupError {
  const some = foreign.slice(0, 5).join(', ');
  return new CgroupError({
    operation: 'enable',
    directory,
    file: 'cgroup.subtree_control',
    value: missing.map((name) => `+${name}`).join(' '),
    rule: `a group that holds processes cannot give controllers to its children, and processes of other programs are in it (pid ${some}${foreign.length > 5 ? ', …' : ''})`,
    fix: "let them be moved into a leaf: 'nestling ci prepare --cgroups=move'",
  });
}

export function absentError(directory: string, absent: readonly string[]): CgroupError {
  return new CgroupError({
    operation: 'enable',
    directory,
    file: 'cgroup.subtree_control',
    value: absent.map((name) => `+${name}`).join(' '),
    errno: 'ENOENT',
    rule: 'the controller is not in cgroup.controllers here: the group above does not hand it down, or a v1 hierarchy has it',
    fix: 'start the container or the service with that controller delegated (systemd: Delegate=yes), or boot with cgroup_no_v1=all',
  });
}

export function readOnlyError({ readOnly }: CgroupHierarchy, directory: string): CgroupError {
  return new CgroupError({
    operation: 'write',
    directory,
    file: 'cgroup.subtree_control',
    errno: readOnly ? 'EROFS' : 'EACCES',
    rule: readOnly ? 'the hierarchy is mounted read-only' : "the group is not this user's",
    fix: readOnly
      ? 'run the container with --privileged, or -v /sys/fs/cgroup:/sys/fs/cgroup:rw and --cgroupns=private'
      : "start the program under 'systemd-run --user --scope -p Delegate=yes', or as root",
  });
}

/** Processes that this PID namespace does not see have pid 0 here, and nobody can move what has no number. */
export function unseenError(directory: string, count: number): CgroupError {
  return new CgroupError({
    operation: 'empty',
    directory,
    file: 'cgroup.procs',
    rule: `${count} of its processes belong to another PID namespace, so that they cannot be moved from here`,
    fix: 'start the container with --cgroupns=private, or prepare the group from outside of it',
  });
}

export function threadedError(directory: string, type: 'domain threaded' | 'domain invalid' | 'threaded'): CgroupError {
  const isRoot = type === 'domain threaded';
  return new CgroupError({
    operation: 'prepare',
    directory,
    file: 'cgroup.type',
    errno: 'EOPNOTSUPP',
    rule: isRoot
      ? 'a group in it is threaded, which keeps it from giving memory and io to the others'
      : `the group is '${type}', which cannot be taken back, and has neither memory nor io`,
    fix: isRoot ? 'remove the threaded groups in it' : 'start the program in another group',
  });
}
