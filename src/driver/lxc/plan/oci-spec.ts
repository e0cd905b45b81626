/** What of an OCI runtime configuration (`config.json`, version 1.0) containers here are made of. Names are the specification's. */

export interface OciSpec {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly?: boolean };
  readonly hostname?: string;
  readonly mounts: readonly OciMount[];
  readonly hooks?: { readonly createRuntime?: readonly OciHook[]; readonly createContainer?: readonly OciHook[] };
  readonly linux: OciLinux;
}

export interface OciProcess {
  readonly terminal: boolean;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<Record<'bounding' | 'effective' | 'permitted', readonly string[]>>;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
}

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciHook {
  readonly path: string;
  readonly args: readonly string[];
}

export interface OciLinux {
  readonly namespaces: readonly OciNamespace[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
  readonly devices: readonly OciDevice[];
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  /** `LINUX32`: `uname -m` names the 32-bit kin of the host. */
  readonly personality?: { readonly domain: 'LINUX32' };
  readonly mountLabel?: string;
  /** Of a runtime that puts the container there; relative to its own group where there is v1. */
  readonly cgroupsPath?: string;
  readonly resources?: { readonly devices: readonly OciDeviceRule[] };
}

/** Without a type: of all. */
export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: 'a' | 'b' | 'c';
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

export interface OciNamespace {
  readonly type: 'pid' | 'mount' | 'ipc' | 'uts' | 'network' | 'user' | 'cgroup';
  /** An existing one instead of a new one. */
  readonly path?: string;
}

export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface OciDevice {
  readonly path: string;
  readonly type: 'c' | 'b';
  readonly major: number;
  readonly minor: number;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}
