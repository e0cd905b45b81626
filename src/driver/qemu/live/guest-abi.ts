/**
 * What a guest sees of its definition, and where two definitions differ in it: a saved guest can be restored with other files, limits and
 * displays, but with no other hardware. Definitions in, differences in words out.
 */
import { isDeepStrictEqual } from 'node:util';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf } from '../../../core/members.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { Domain } from '../../../model/domain/domain.ts';

/** Paths that the guest can tell apart; everything else is the host's business. */
const DOMAIN_PATHS = [
  'type',
  'name',
  'uuid',
  'genid',
  'maxMemory',
  'memory.value',
  'vcpu.value',
  'vcpu.current',
  'sysinfos',
  'os.type',
  'os.firmware',
  'os.loader.type',
  'os.loader.secure',
  'os.acpi',
  'os.smbios.mode',
  'features',
  'cpu.mode',
  'cpu.model.value',
  'cpu.vendor',
  'cpu.topology',
  'cpu.cache',
  'cpu.maxphysaddr',
  'cpu.features',
  'cpu.numa',
  'clock.offset',
  'clock.timers',
  'launchSecurity',
] as const;

/** Of each kind of device, besides its address. Kinds that are not here are the host's. */
const DEVICE_PATHS = {
  disks: [
    'device',
    'model',
    'target.dev',
    'target.bus',
    'target.removable',
    'target.rotationRate',
    'geometry',
    'blockio.logicalBlockSize',
    'blockio.physicalBlockSize',
    'readonly',
    'serial',
    'wwn',
    'vendor',
    'product',
    'driver.queues',
    'driver.queueSize',
  ],
  controllers: [
    'type',
    'index',
    'model',
    'ports',
    'vectors',
    'modelElement.name',
    'target',
    'driver.queues',
    'pcihole64',
  ],
  filesystems: ['model', 'target.dir', 'readonly', 'driver.type'],
  interfaces: ['mac.address', 'model.type', 'driver.queues', 'driver.host', 'driver.guest'],
  smartcards: ['mode', 'type'],
  serials: ['target.type', 'target.port', 'target.model'],
  parallels: ['target.port'],
  consoles: ['target.type', 'target.port'],
  channels: ['target.type', 'target.name', 'target.address', 'target.port'],
  inputs: ['type', 'bus', 'model'],
  tpms: ['model'],
  sounds: ['model', 'codecs', 'multichannel', 'streams'],
  videos: [
    'model.type',
    'model.ram',
    'model.vram',
    'model.vram64',
    'model.vgamem',
    'model.heads',
    'model.acceleration',
  ],
  hostdevs: ['mode', 'type', 'model', 'display', 'ramfb', 'readonly'],
  redirdevs: ['bus'],
  hubs: ['type'],
  watchdogs: ['model'],
  rngs: ['model'],
  panics: ['model'],
  shmems: ['name', 'role', 'model', 'size', 'msi.vectors'],
  memories: ['model', 'target.size', 'target.node', 'target.label', 'target.block'],
  iommus: ['model', 'driver'],
  memballoon: ['model', 'autodeflate', 'freePageReporting'],
  nvram: [],
  vsock: ['model', 'cid.address'],
  pstore: ['backend', 'size'],
} as const satisfies Partial<Record<keyof Devices, readonly string[]>>;

/** @throws VirtError CONFIG_UNSUPPORTED that names every difference */
export function requireSameGuest(before: Domain, after: Domain): void {
  const differences = guestDifferences(before, after);
  if (differences.length === 0) return;
  throw new VirtError(
    `the new definition changes what the guest sees: ${differences.join('; ')} (only files, limits, displays and descriptions may differ)`,
    { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.QEMU },
  );
}

/** In words, one for each. Both are completed: with addresses and all that follows. */
export function guestDifferences(before: Domain, after: Domain): string[] {
  const differences = differencesAt('', DOMAIN_PATHS, before, after);
  for (const [list, paths] of Object.entries(DEVICE_PATHS) as [keyof typeof DEVICE_PATHS, readonly string[]][]) {
    const [old, now] = [devicesIn(before, list), devicesIn(after, list)];
    if (old.length !== now.length) {
      differences.push(`${list}: ${now.length} of them, there were ${old.length}`);
      continue;
    }
    old.forEach((device, index) => {
      const where = `${list}[${nameOf(device) ?? index}] `;
      differences.push(...differencesAt(where, [...paths, 'address'], device, now[index]));
    });
  }
  return differences;
}

function differencesAt(where: string, paths: readonly string[], before: unknown, after: unknown): string[] {
  return paths.flatMap((path) => {
    const [old, now] = [valueAt(before, path), valueAt(after, path)];
    if (isDeepStrictEqual(old, now)) return [];
    return [`${where}${path} is ${wordOf(now)}, was ${wordOf(old)}`];
  });
}

function devicesIn({ devices }: Domain, list: keyof Devices): unknown[] {
  const found: unknown = devices?.[list];
  if (found === undefined) return [];
  const all: unknown[] = Array.isArray(found) ? found : [found];
  // A balloon of the model "none" is no balloon.
  return all.filter((device) => valueAt(device, 'model') !== 'none');
}

/** What people call it. */
function nameOf(device: unknown): string | undefined {
  const names = ['target.dev', 'mac.address', 'target.name'].map((path) => valueAt(device, path));
  return names.find((name) => typeof name === 'string');
}

/** A plain copy without what is undefined, so that only values count. */
function valueAt(value: unknown, path: string): unknown {
  return plain(memberOf(value, ...path.split('.')));
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(plain);
  if (typeof value !== 'object' || value === null) return typeof value === 'bigint' ? String(value) : value;
  const entries = Object.entries(value).flatMap(([key, one]) => {
    const copy = plain(one);
    return copy === undefined ? [] : [[key, copy] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function wordOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
}
