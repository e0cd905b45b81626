/** The host's device nodes that a guest's definition names: what its group must allow besides those that every guest may use. Pure. */
import { DEFAULT_DEVICE_ACL } from '../../../cgroup/device-rules.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QemuConfig } from '../config.ts';

/** Only libvirt's layouts restrict device nodes (then undefined): a guest that stays with its caller may use what the caller may. */
export function deviceNodesBy({
  cgroupLayout,
  cgroupControllers,
  cgroupDeviceAcl = DEFAULT_DEVICE_ACL,
}: QemuConfig): ((domain: Domain) => readonly string[]) | undefined {
  if (cgroupLayout === 'inherit' || cgroupControllers?.includes('devices') === false) return undefined;
  return (domain) => [...cgroupDeviceAcl, ...deviceNodesOf(domain)];
}

/** Paths, as far as the definition tells them; what is no device node is left out when the rules are made. */
function deviceNodesOf(domain: Domain): string[] {
  const { devices } = domain;
  if (devices === undefined) return [];
  const chardevs = [...devices.serials, ...devices.parallels, ...devices.consoles, ...devices.channels];
  const paths: (string | undefined)[] = [
    ...devices.disks.flatMap(({ source }) => [source?.dev, source?.file]),
    ...chardevs.flatMap(({ type, sources }) => (type === 'dev' ? sources.map(({ path }) => path) : [])),
    ...devices.rngs.map(({ backend }) => (backend?.model === 'random' ? (backend.value ?? '/dev/urandom') : undefined)),
    ...devices.inputs.map(({ source }) => source?.evdev ?? source?.dev),
    ...devices.tpms.map(({ backend }) => backend.device?.path),
    ...(devices.graphics.some(({ gl }) => gl !== undefined) ? devices.graphics.map(({ gl }) => gl?.rendernode) : []),
    ...(devices.interfaces.length > 0 ? ['/dev/net/tun', '/dev/vhost-net'] : []),
    ...(devices.vsock === undefined ? [] : ['/dev/vhost-vsock']),
    ...(devices.hostdevs.length > 0 ? ['/dev/vfio/vfio'] : []),
  ];
  return paths.filter((path) => path !== undefined);
}
