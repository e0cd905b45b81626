/**
 * The files that a guest's QEMU opens by their paths, from its live definition and its plan: what security labels are given to. Pure but for
 * the host's sysfs, where the nodes of handed-over devices are found.
 */
import { dirname } from 'node:path';
import type { ChardevSource } from '../../../model/domain/devices/chardev-source.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DataStore, StorageSource } from '../../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DeviceLabel, GuestResource, Owner } from '../../../security/label-plan.ts';
import type { Layout } from '../layout.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import { hostdevNodes } from './hostdev-nodes.ts';

export interface ResourceOptions {
  /** Where the host's devices are listed; default `/sys`. */
  readonly sys?: string;
}

/** What the definition names, in libvirt's order. */
export function definedResources(domain: Domain, options: ResourceOptions = {}): GuestResource[] {
  const { devices, os } = domain;
  return [
    ...(devices === undefined ? [] : deviceResources(devices, options)),
    ...bootResources(os),
    ...domain.sysinfos.flatMap(({ type, entries }) =>
      type === 'fwcfg'
        ? entries.flatMap(({ file }) => resource(file, 'firmware configuration', { readonly: true }))
        : [],
    ),
  ];
}

/** What is made for this guest alone: it goes with the guest, and so do its labels. */
export function ownResources(plan: Pick<LaunchPlan, 'files'>, dirs: readonly string[]): GuestResource[] {
  const made = plan.files.flatMap((file): GuestResource[] => {
    if (file.kind === 'directory' && file.keep !== true) return [ownFolder(file.path)];
    if (file.kind === 'file' && file.keep !== true) return [{ path: file.path, kind: 'memory file', own: true }];
    return [];
  });
  return [...dirs.map(ownFolder), ...made];
}

/** An emulated TPM's state belongs to whoever runs the emulator. */
export function tpmResources({ devices, uuid = '' }: Domain, layout: Layout, owner: Owner): GuestResource[] {
  return (devices?.tpms ?? []).flatMap(({ backend }): GuestResource[] => {
    if (backend.type !== 'emulator') return [];
    const { source, version = '2.0' } = backend;
    const path = source?.path ?? layout.tpmStateDir(uuid, version);
    const isOurs = source === undefined;
    const folders: GuestResource[] = isOurs
      ? [{ path: dirname(path), kind: 'directory', own: true, optional: true, owner }]
      : [];
    const state: GuestResource = { path, kind: 'tpm state', owner, optional: true, ...(isOurs && { own: true }) };
    return [...folders, { ...state, seclabels: source?.seclabels ?? [] }];
  });
}

function ownFolder(path: string): GuestResource {
  return { path, kind: 'directory', own: true, optional: true };
}

function bootResources(os: Domain['os']): GuestResource[] {
  const { nvram } = os ?? {};
  return [
    ...resource(nvram?.value ?? nvram?.source?.file ?? nvram?.source?.dev, 'nvram', {
      seclabels: nvram?.source?.seclabels ?? [],
    }),
    ...resource(os?.kernel, 'kernel', { readonly: true }),
    ...resource(os?.initrd, 'initrd', { readonly: true }),
    ...resource(os?.dtb, 'dtb', { readonly: true }),
    ...resource(os?.shim, 'kernel', { readonly: true }),
    ...(os?.acpi?.tables ?? []).flatMap(({ value }) => resource(value, 'acpi table', { readonly: true })),
  ];
}

function deviceResources(devices: Devices, options: ResourceOptions): GuestResource[] {
  const chardevs: ChardevSource[] = [
    ...devices.serials,
    ...devices.parallels,
    ...devices.consoles,
    ...devices.channels,
    ...devices.smartcards,
    ...devices.redirdevs,
    ...devices.rngs.map(({ backend }) => backend),
  ];
  return [
    ...devices.disks.flatMap(diskResources),
    ...devices.inputs.flatMap(({ source }) => resource(source?.evdev ?? source?.dev, 'input')),
    ...devices.hostdevs.flatMap((hostdev) => {
      const { readonly = false, shareable = false } = hostdev;
      return hostdevNodes(hostdev, options.sys).flatMap((path) => resource(path, 'hostdev', { readonly, shareable }));
    }),
    ...devices.memories.flatMap(({ source, target }) =>
      resource(source?.path, 'memory file', { readonly: target.readonly === true }),
    ),
    ...devices.tpms.flatMap(({ backend }) =>
      backend.type === 'passthrough' ? resource(backend.device?.path ?? '/dev/tpm0', 'tpm device') : [],
    ),
    ...chardevs.flatMap(chardevResources),
    ...devices.graphics.flatMap(({ gl }) => resource(gl?.rendernode, 'render node')),
  ];
}

/** Each image of the chain; what is below the top is only read. Those that say nothing of labels are labelled as the top says. */
function diskResources(disk: Disk): GuestResource[] {
  const { source, readonly = false, shareable = false } = disk;
  if (disk.type === 'dir' || disk.type === 'vhostuser') return [];
  const seclabels = source?.seclabels ?? [];
  const optional = source?.startupPolicy === 'optional' || source?.startupPolicy === 'requisite';
  const found = [
    ...imageResources(source, 'disk', { readonly, shareable, seclabels, optional }),
    ...dataStore(source?.dataStore, 'disk', { readonly, shareable, seclabels }),
  ];
  for (let below = disk.backingStore; below !== undefined; below = below.backingStore) {
    const own = below.source?.seclabels ?? [];
    const labels = { readonly: true, seclabels: own.length > 0 ? own : seclabels };
    found.push(...imageResources(below.source, 'backing file', labels));
    found.push(...dataStore(below.source?.dataStore, 'backing file', labels));
  }
  return found;
}

type Traits = Omit<GuestResource, 'path' | 'kind'>;

function imageResources(
  source: StorageSource | undefined,
  kind: GuestResource['kind'],
  traits: Traits,
): GuestResource[] {
  return resource(source?.file ?? source?.dev, kind, traits);
}

function dataStore(store: DataStore | undefined, kind: GuestResource['kind'], traits: Traits): GuestResource[] {
  return imageResources(store?.source, kind, traits);
}

/** Only what QEMU opens itself: files and listening sockets it is given open. */
function chardevResources({ type, sources }: ChardevSource): GuestResource[] {
  return sources.flatMap(({ path, mode, seclabels }) => {
    const labels: readonly DeviceLabel[] = seclabels;
    if (type === 'dev' || (type === 'unix' && mode === 'connect'))
      return resource(path, 'chardev', { seclabels: labels });
    if (type !== 'pipe' || path === undefined) return [];
    // Either one pipe, or two with endings.
    return ['', '.in', '.out'].flatMap((end) =>
      resource(`${path}${end}`, 'chardev', { seclabels: labels, optional: true }),
    );
  });
}

function resource(path: string | undefined, kind: GuestResource['kind'], traits: Traits = {}): GuestResource[] {
  return path?.startsWith('/') === true ? [{ path, kind, ...traits }] : [];
}
