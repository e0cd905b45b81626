/** What the LXC driver is told besides definitions; keys of `lxc.conf` are in `src/driver/lxc-settings.ts`. */
import type { CgroupLayout } from '../../../guest/cgroups/guest-groups.ts';
import type { ContainerSecuritySettings } from '../plan/container-security.ts';
import type { RuntimeName } from '../plan/oci-runtime.ts';

export interface LxcConfig extends ContainerSecuritySettings {
  /** Where containers' groups lie; default: below their starter's. */
  readonly cgroupLayout: CgroupLayout;
  /** Only these controllers are used; undefined: all there are. */
  readonly cgroupControllers: readonly string[] | undefined;
  /** Bytes at which a container's log is moved aside; 0: never. */
  readonly logMaxSize: number;
  readonly logMaxBackups: number;
  /** That containers run on; undefined: the first that the host has. */
  readonly runtime: RuntimeName | undefined;
}

export const DEFAULT_LXC_CONFIG: LxcConfig = {
  cgroupLayout: 'inherit',
  cgroupControllers: undefined,
  logMaxSize: 2 * 1024 * 1024,
  logMaxBackups: 3,
  runtime: undefined,
  securityDriver: undefined,
  securityDefaultConfined: false,
  securityRequireConfined: false,
};
