/** What planning a container may look at besides its definition. Everything is data: the planner touches nothing. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';

export interface ContainerFacts {
  /** A bit for each capability that can be given: those of this process, or all that the kernel knows for a new user namespace. */
  readonly capabilities: bigint;
  /** Number of a user or group by its name in the container's own files; undefined where it has none such. */
  readonly idOf: (kind: 'user' | 'group', name: string) => number | undefined;
  /** Of a device node on the host; undefined where there is none. */
  readonly deviceOf: (path: string) => DeviceNumbers | undefined;
  /** First process of a running container, for namespaces that are shared with it. */
  readonly initOf: (name: string) => number | undefined;
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
