/**
 * What a guest's security labels are, as data: its wishes, the files it uses, the labels of its process, and what has to be done to which
 * file. Types and the error only; `plan-labels.ts` decides, `applied-labels.ts` does.
 */

/** libvirt's models. DAC is Unix ownership. */
export type SecurityModel = 'selinux' | 'apparmor' | 'dac';

/** A guest's `<seclabel>`. */
export interface GuestLabel {
  readonly type?: 'dynamic' | 'static' | 'none' | undefined;
  readonly model?: string | undefined;
  readonly relabel?: boolean | undefined;
  readonly label?: string | undefined;
  readonly imagelabel?: string | undefined;
  readonly baselabel?: string | undefined;
}

/** `<seclabel>` of one disk or character device source. */
export interface DeviceLabel {
  /** Undefined: every model. */
  readonly model?: string | undefined;
  readonly relabel?: boolean | undefined;
  readonly label?: string | undefined;
}

export type ResourceKind =
  | 'disk'
  /** An image below a disk's: only ever read. */
  | 'backing file'
  | 'kernel'
  | 'initrd'
  | 'dtb'
  | 'acpi table'
  | 'nvram'
  | 'chardev'
  /** The host's TPM. */
  | 'tpm device'
  /** Folder of an emulated TPM, with all that is in it. */
  | 'tpm state'
  | 'log'
  /** A folder in which QEMU makes sockets. */
  | 'directory'
  /** Of a helper: QEMU connects to it. */
  | 'socket'
  | 'firmware configuration'
  | 'hostdev'
  | 'input'
  | 'render node'
  /** A guest's folder on a hugetlbfs. */
  | 'hugepages'
  | 'memory file';

/** One file that QEMU (or a helper) uses. */
export interface GuestResource {
  readonly path: string;
  readonly kind: ResourceKind;
  readonly readonly?: boolean | undefined;
  readonly shareable?: boolean | undefined;
  /** Made for this guest alone and removed with it: its label is never given back. */
  readonly own?: boolean | undefined;
  /** It may not be there. */
  readonly optional?: boolean | undefined;
  readonly seclabels?: readonly DeviceLabel[] | undefined;
  /** Who is to own it instead of QEMU's user: `swtpm_user`. */
  readonly owner?: Owner | undefined;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** One change of one file. */
export interface LabelAction {
  readonly model: 'selinux' | 'dac';
  readonly path: string;
  /** A context, or `+UID:+GID`. */
  readonly label: string;
  /** Files in the folder too. */
  readonly tree: boolean;
  /** What is not there, or cannot be labelled, is no fault. */
  readonly optional: boolean;
  /**
   * `remembered`: given back as it was when the last guest is done with it. `default`: given back as libvirt does without memory, to
   * root, or as the policy has it. `never`: guests elsewhere may use it, or it is removed with the guest.
   */
  readonly restore: 'remembered' | 'default' | 'never';
}

/** A file that keeps its label, and why. */
export interface LabelLeft {
  readonly model: 'selinux' | 'dac';
  readonly path: string;
  readonly why: string;
}

/** What QEMU's process is to be. */
export interface ProcessLabels {
  readonly user?: (Owner & { readonly supplementaryGroups: readonly number[] }) | undefined;
  /** A context. */
  readonly selinux?: string | undefined;
  /** A profile's name. */
  readonly apparmor?: string | undefined;
}

/** A live `<seclabel>`. */
export interface LiveLabel extends GuestLabel {
  readonly type: 'dynamic' | 'static' | 'none';
  readonly model: SecurityModel;
  readonly relabel: boolean;
}

export interface LabelPlan {
  readonly process: ProcessLabels;
  readonly actions: readonly LabelAction[];
  readonly left: readonly LabelLeft[];
  readonly live: readonly LiveLabel[];
  /** AppArmor's, to be loaded before the start; undefined where it must be there already, or none is used. */
  readonly profile?: { readonly name: string; readonly text: string } | undefined;
  /** For the user; one line each. */
  readonly notes: readonly string[];
}

export interface SecurityErrorInit {
  readonly model?: SecurityModel | undefined;
  readonly path?: string | undefined;
  readonly errno?: string | undefined;
  readonly cause?: unknown;
}

/** A label that cannot be had, read, set or restored. The message names operation, object, cause and fix. */
export class SecurityError extends Error {
  override readonly name = 'SecurityError';
  readonly model: SecurityModel | undefined;
  readonly path: string | undefined;
  readonly errno: string | undefined;

  constructor(message: string, { model, path, errno, cause }: SecurityErrorInit = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.model = model;
    this.path = path;
    this.errno = errno;
  }
}
