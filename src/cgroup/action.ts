/**
 * Changes of cgroups as data, so that they can be printed before they are carried out, and the error of one that failed. Carrying out is
 * `apply.ts`'s.
 */

export type CgroupAction =
  /** Makes a group; one that exists already is fine. */
  | { readonly kind: 'mkdir'; readonly directory: string }
  | {
      readonly kind: 'write';
      readonly directory: string;
      readonly file: string;
      readonly value: string;
      /** Errnos after which the rest goes on, and what is lost then. Everything else is an error. */
      readonly tolerate?: { readonly errnos: readonly string[]; readonly note: string } | undefined;
    }
  /** v1 cpuset: a new group's empty `cpuset.cpus`/`cpuset.mems` gets its parent's value; one that has a value keeps it. */
  | { readonly kind: 'copy-from-parent'; readonly directory: string; readonly file: string }
  /** Moves every process of one group to another, again and again until none is left; those that end meanwhile do not count. */
  | {
      readonly kind: 'evacuate';
      readonly from: string;
      readonly to: string;
      /** Pids that may be moved; undefined: all of them, foreign ones too. */
      readonly pids?: readonly number[] | undefined;
    }
  /** v2 devices: a BPF program attached to the group. `optional`: where there is no way to, a note is all that comes of it. */
  | {
      readonly kind: 'attach-device-program';
      readonly directory: string;
      readonly rules: readonly DeviceRule[];
      readonly optional?: boolean | undefined;
    }
  /** Removes a group and the groups in it; what is not there is fine. */
  | { readonly kind: 'rmdir'; readonly directory: string };

/** What a group may do with a device node. `major` or `minor` undefined: any. */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type: 'a' | 'b' | 'c';
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  /** Of `r`, `w`, `m`. */
  readonly access: string;
}

export interface CgroupErrorInit {
  /** `write`, `make`, `remove`, `read`, `enable`, `move into`. */
  readonly operation: string;
  /** The group's directory. */
  readonly directory: string;
  readonly file?: string | undefined;
  readonly value?: string | undefined;
  /** `EOPNOTSUPP`. */
  readonly errno?: string | undefined;
  /** The kernel's rule behind the errno, one sentence without a full stop. */
  readonly rule?: string | undefined;
  /** What to do. */
  readonly fix?: string | undefined;
  readonly cause?: unknown;
}

/** A change or reading of a cgroup that the kernel refused: group, file, value, errno, the rule behind it and what to do. */
export class CgroupError extends Error {
  override readonly name: string = 'CgroupError';
  readonly operation: string;
  readonly directory: string;
  readonly file: string | undefined;
  readonly value: string | undefined;
  readonly errno: string | undefined;
  readonly rule: string | undefined;
  readonly fix: string | undefined;

  constructor(init: CgroupErrorInit) {
    super(describe(init), init.cause === undefined ? undefined : { cause: init.cause });
    this.operation = init.operation;
    this.directory = init.directory;
    this.file = init.file;
    this.value = init.value;
    this.errno = init.errno;
    this.rule = init.rule;
    this.fix = init.fix;
  }
}

function describe({ operation, directory, file, value, errno, rule, fix }: CgroupErrorInit): string {
  const what = value === undefined ? '' : ` '${value}' to`;
  const where = file === undefined ? directory : `${directory}/${file}`;
  const why = errno === undefined ? (rule ?? '') : rule === undefined ? errno : `${errno} (${rule})`;
  return `cannot ${operation}${what} ${where}${why === '' ? '' : `: ${why}`}${fix === undefined ? '' : `; ${fix}`}`;
}
