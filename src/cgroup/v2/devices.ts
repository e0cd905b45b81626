/** Which device nodes a group may use, in cgroup v2: a BPF program. Its twin is `../v1/devices.ts`. */
import type { CgroupAction, DeviceRule } from '../action.ts';

/** Optional: libvirt too starts guests without rules where it cannot load programs. */
export function setDevices(directory: string, rules: readonly DeviceRule[]): CgroupAction[] {
  return [{ kind: 'attach-device-program', directory, rules, optional: true }];
}
