/**
 * Groups that a container's init may make groups in, as systemd has to: in hierarchies that limit nothing (v1's named one, the v2 tree beside v1),
 * or, where there is v2 alone, below the group with the limits. All of the container's processes are in them, so that nothing of it lies among the
 * host's own groups.
 */
import { applyActions, removeGroups } from '../../../cgroup/apply.ts';
import type { CgroupHost, CgroupPlace } from '../../../cgroup/host.ts';
import type { Ledger } from '../../../core/ledger.ts';
import type { InitGroup } from '../plan/container-context.ts';

/** Which groups, and who joins what. */
export interface InitGroupsPlan {
  /** To be made, where they are not there. */
  readonly directories: readonly string[];
  /**
   * Those that become threaded: a single thread moves there without that the kernel holds up all forks and exits of the host, for which it waits some
   * 10 ms. The hierarchy's root may have such children beside others, and nothing is limited or divided in them.
   */
  readonly threaded: readonly string[];
  /** `cgroup.procs` files for the container's outermost process, with those of its own group. */
  readonly joins: readonly string[];
  /** Undefined where init cannot have one: it sees its groups and changes none. */
  readonly initGroup: InitGroup | undefined;
}

/** Pure. `name`: of the container's group; `joins`: of that group. */
export function planInitGroups(
  { hierarchies, mode, unified }: CgroupHost,
  place: CgroupPlace | undefined,
  { name, joins }: { readonly name: string; readonly joins: readonly string[] },
): InitGroupsPlan {
  if (mode === 'v2') {
    if (place?.v2 === undefined) return { directories: [], threaded: [], joins, initGroup: undefined };
    const { directory } = place.v2;
    const own = `${directory}/init`;
    const mountPoint = hierarchies.find(({ version }) => version === 2)?.mountPoint ?? '/sys/fs/cgroup';
    const others = joins.filter((file) => file !== `${directory}/cgroup.procs`);
    return {
      directories: [own],
      threaded: [],
      joins: [...others, `${own}/cgroup.procs`],
      initGroup: { at: mountPoint, directory: own },
    };
  }
  const limitless = hierarchies.filter(
    (hierarchy) =>
      hierarchy.writable &&
      hierarchy.ownDirectory !== undefined &&
      (hierarchy.version === 1 ? hierarchy.name !== undefined : place?.v2 === undefined),
  );
  const made = limitless.map(({ ownDirectory, mountPoint, name: tree, version }) => ({
    version,
    directory: `${ownDirectory ?? mountPoint}/${name}`,
    tree,
    at: mountPoint,
  }));
  const systemd = made.find(({ tree }) => tree === 'systemd');
  return {
    directories: made.map(({ directory }) => directory),
    threaded: made.flatMap(({ version, directory }) => (version === 2 && unified?.type === 'root' ? [directory] : [])),
    joins: [...joins, ...made.map(({ directory }) => `${directory}/cgroup.procs`)],
    initGroup: systemd === undefined ? undefined : { at: systemd.at, directory: systemd.directory },
  };
}

/** Where the kernel will have none, the way in takes longer. */
const THREADED = {
  file: 'cgroup.type',
  value: 'threaded',
  tolerate: { errnos: ['EOPNOTSUPP', 'EINVAL', 'ENOENT', 'EACCES'], note: 'the group is not threaded' },
} as const;

/** Makes them; disposal removes them, with all that init has made in them. @throws CgroupError */
export function makeInitGroups({ directories, threaded }: InitGroupsPlan, ledger: Ledger): AsyncDisposable {
  const entries = directories.map((directory) => ledger.record('cgroup', { directory }));
  applyActions([
    ...directories.map((directory) => ({ kind: 'mkdir', directory }) as const),
    ...threaded.map((directory) => ({ kind: 'write', directory, ...THREADED }) as const),
  ]);
  return {
    [Symbol.asyncDispose]: async () => {
      await removeGroups(directories);
      for (const entry of entries) entry.done();
    },
  };
}
