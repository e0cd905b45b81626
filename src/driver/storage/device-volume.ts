/** Volumes that are block devices: what is known of the node, and how a new one gets its content. */
import { promises as fs, statSync } from 'node:fs';
import type { VolumeRequest, VolumeTarget } from '../../model/storage/volume.ts';
import { permissionsOf } from './file-volume.ts';
import { applyPermissions, inputOf, KEY_ATTEMPTS, passphraseOf, runPatiently } from './make-file.ts';
import { command } from './plan/command.ts';
import { planConvert, planCreate } from './plan/qemu-img.ts';
import type { BackendHost, CreateVolumeOptions, StoredVolume } from './pool-backend.ts';
import { systemError } from './storage-errors.ts';

/** What nodes of disks have. */
const DEVICE_MODE = 0o600;

/** A device's target: owner and mode are those of its node, where it has one by now. */
export function deviceTarget(path: string): VolumeTarget {
  let stats: ReturnType<typeof statSync>;
  try {
    stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    // Its folder cannot be searched by us: it is a volume all the same.
    return { path };
  }
  return stats === undefined ? { path } : { path, permissions: permissionsOf(stats) };
}

/** Encrypts a new device, or copies a volume to it, and sets its owner. */
export async function fillDevice(
  host: BackendHost,
  volume: StoredVolume,
  request: VolumeRequest,
  options: CreateVolumeOptions,
): Promise<void> {
  const { from, signal } = options;
  const { target, capacity } = request;
  const { path } = volume;
  using passphrase = await passphraseOf(host, { ...target, format: { type: 'raw' } }, `volume '${request.name}'`);
  using sourcePassphrase =
    from === undefined ? undefined : await passphraseOf(host, from.target, `volume '${from.name}'`);
  const image = { path, format: 'raw', capacity, target, passphrase };
  if (from !== undefined) {
    // It is there already: qemu-img is not to make it.
    const { program, args } = planConvert(inputOf(from, sourcePassphrase), image);
    const [verb = '', ...rest] = args;
    await host.run(command(program, verb, '-n', ...rest), { signal });
  } else if (passphrase !== undefined) {
    await runPatiently(host, planCreate(image), KEY_ATTEMPTS, signal);
  }
  if (target.permissions !== undefined) await applyPermissions(path, target.permissions, DEVICE_MODE);
}

/** @throws VirtError where there is no such device */
export async function requireDevice(path: string): Promise<void> {
  try {
    await fs.access(path);
  } catch (error) {
    throw systemError(`device path '${path}' doesn't exist`, error);
  }
}
