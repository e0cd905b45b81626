/**
 * What is known of this host's cgroups: hierarchies, where the caller sits in each, and what may be done there. Types and
 * look-ups only; `detect.ts` fills them in from the kernel's files.
 */

/** `hybrid`: v1 hierarchies and a v2 one side by side. */
export type CgroupMode = 'v1' | 'v2' | 'hybrid' | 'none';

/** One mounted hierarchy. */
export interface CgroupHierarchy {
  readonly version: 1 | 2;
  /**
   * v1: the controllers bound to it, by the kernel's names, several when co-mounted. v2: those in the `cgroup.controllers` of the caller's
   * group, hence usable for its children.
   */
  readonly controllers: readonly string[];
  /** v1 hierarchies without controllers: `systemd`, `openrc`. */
  readonly name?: string | undefined;
  readonly mountPoint: string;
  /** The hierarchy's group that is mounted there, `/` mostly (mountinfo's field 4). */
  readonly mountRoot: string;
  /** The caller's group as /proc/self/cgroup names it. */
  readonly ownPath: string;
  /** The caller's group as a directory; undefined when it is not below what is mounted. */
  readonly ownDirectory: string | undefined;
  /** Mounted read-only. */
  readonly readOnly: boolean;
  /** Groups can be made in the caller's group: not read-only, and the caller may write there. */
  readonly writable: boolean;
}

/** `cgroup.type`; the real root of the hierarchy has no such file, and is exempt from the rules for inner groups. */
export type CgroupType = 'root' | 'domain' | 'domain threaded' | 'domain invalid' | 'threaded';

/** The caller's group in the v2 hierarchy. */
export interface UnifiedState {
  readonly type: CgroupType;
  /** `cgroup.subtree_control`. */
  readonly enabled: readonly string[];
  /** How many processes it holds; they keep resource controllers from being enabled unless it is the real root. */
  readonly processes: number;
  /** `systemd`: marked with the xattr of `Delegate=`; `owner`: files belong to the caller, who is not root. */
  readonly delegation: 'systemd' | 'owner' | 'none';
}

export interface CgroupHost {
  readonly mode: CgroupMode;
  readonly hierarchies: readonly CgroupHierarchy[];
  /** Of the v2 hierarchy, when there is one. */
  readonly unified?: UnifiedState | undefined;
  /** `private`: what the caller sees as `/` is not the hierarchy's root. */
  readonly namespace: 'host' | 'private' | 'unknown';
  /** Whether systemd manages the groups (runs as PID 1 here and answers). */
  readonly systemd: boolean;
  /** Controllers that the kernel knows but has switched off (`cgroup_disable=`). */
  readonly disabled: readonly string[];
}

/** The v1 hierarchy of a controller. */
export function v1Hierarchy(host: CgroupHost, controller: string): CgroupHierarchy | undefined {
  return host.hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes(controller));
}

export function v2Hierarchy(host: CgroupHost): CgroupHierarchy | undefined {
  return host.hierarchies.find(({ version }) => version === 2);
}

/** One group in all the hierarchies in which it exists. */
export interface CgroupPlace {
  /** Below the hierarchies' visible roots: `/machine/qemu-1-web.libvirt-qemu`. */
  readonly path: string;
  /** Its v1 directory by controller (co-mounted controllers share one), absolute. */
  readonly v1: Readonly<Record<string, string>>;
  readonly v2?: { readonly directory: string; readonly controllers: readonly string[] } | undefined;
}

/**
 * Where libvirt itself would manage a controller: as the kernel has it, but device rules are a BPF program wherever there is a v2 hierarchy,
 * whether a v1 one has `devices` or not.
 */
export function libvirtHierarchy(host: CgroupHost, controller: string): CgroupHierarchy | undefined {
  const unified = v2Hierarchy(host);
  if (controller === 'devices' && unified !== undefined) return unified;
  return v1Hierarchy(host, controller) ?? (unified?.controllers.includes(controller) === true ? unified : undefined);
}
