/** What planning a container may look at besides its definition. Everything is data: the planner touches nothing. */
import type { DeviceRule } from '../../../cgroup/action.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { ForeignRun } from './foreign.ts';
import type { Person } from './person.ts';

export interface ContainerFacts {
  /** A bit for each capability that can be given: those of this process, or all that the kernel knows for a new user namespace. */
  readonly capabilities: bigint;
  /** Number of a user or group by its name in the container's own files; undefined where it has none such. */
  readonly idOf: (kind: 'user' | 'group', name: string) => number | undefined;
  /** Of a device node on the host; undefined where there is none. */
  readonly deviceOf: (path: string) => DeviceNumbers | undefined;
  /** First process of a running container, for namespaces that are shared with it. */
  readonly initOf: (name: string) => number | undefined;
  /** How programs of its architecture run; absent: as the host's own do. */
  readonly foreign?: ForeignRun | undefined;
  /** Who starts it, where that is not root of the host. */
  readonly person?: Person | undefined;
  /** The directory that its root is, without links in its path; absent: the root is mounted before. */
  readonly rootFolder?: string | undefined;
  /** Absent: the container sees its groups and can change none of them. */
  readonly initGroup?: InitGroup | undefined;
  /** Names in `/proc/sys`, where the runtime mounts nothing in /proc: they become read-only one by one. */
  readonly settings?: readonly string[] | undefined;
  /** Absent: it is in the groups that whoever makes it is in. */
  readonly placement?: ContainerPlacement | undefined;
}

/** Where a runtime that puts containers into groups itself is to put this one. */
export interface ContainerPlacement {
  readonly cgroupsPath: string;
  /** That it may use; undefined: all that the groups above allow. */
  readonly devices: readonly DeviceRule[] | undefined;
}

/**
 * The group that a container's init may make groups in, as systemd has to. No limit may be set on it itself: whoever may write there could lift
 * it. On v1 it is the one of the named hierarchy, which has no limits; on v2 a child of the group that has them.
 */
export interface InitGroup {
  /** Where init looks for it: `/sys/fs/cgroup/systemd`, on v2 `/sys/fs/cgroup`. */
  readonly at: string;
  /** On the host. */
  readonly directory: string;
}

export interface DeviceNumbers {
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
}

/** A definition that cannot become a container, and why. */
export function refuse(message: string): never {
  throw new VirtError(`unsupported configuration: ${message}`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.LXC,
  });
}
