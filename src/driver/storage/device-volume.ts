/**
 * Volumes that are block devices, whatever made them: what is known of the node, what a new one will be, how it gets its content, and what
 * happens when that fails. Kinds of pools add how a device is made and removed.
 */
import { promises as fs, statSync } from 'node:fs';
import { ErrorCode } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import type { VolumeRequest, VolumeTarget } from '../../model/storage/volume.ts';
import { permissionsOf } from './file-volume.ts';
import { applyPermissions, inputOf, KEY_ATTEMPTS, passphraseOf, runPatiently } from './make-file.ts';
import { command } from './plan/command.ts';
import { planProbeDevice } from './plan/file-system.ts';
import { planConvert, planCreate } from './plan/qemu-img.ts';
import { plannedVolume } from './planned-volume.ts';
import type { BackendHost, CreateVolumeOptions, NamedPool, PoolContents, StoredVolume } from './pool-backend.ts';
import { invalidOperation, noVolume, storageError, systemError } from './storage-errors.ts';

const log = new LogSource('storage.storage_driver');

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

/** A device that is about to be made in a pool's folder. @throws VirtError where its name would lead elsewhere */
export function planDevice(pool: NamedPool, request: VolumeRequest): StoredVolume {
  const { name } = request;
  if (name.includes('/')) throw invalidOperation(`volume name '${name}' cannot contain '/'`);
  return plannedVolume(`${pool.target?.path ?? ''}/${name}`, 'block', request);
}

/** Gives a device that has just been made its content; where that fails it is removed again, and the failure is what is told. */
export async function fillOrRemove(
  host: BackendHost,
  volume: StoredVolume,
  request: VolumeRequest,
  options: CreateVolumeOptions,
  remove: () => Promise<unknown>,
): Promise<void> {
  try {
    await fillDevice(host, volume, request, options);
  } catch (error) {
    await remove().catch((problem: unknown) => {
      log.error('create', () => `volume '${volume.path}' has no content and cannot be removed: ${String(problem)}`);
    });
    throw error;
  }
}

/** The volume among those that are there now. @throws VirtError NO_STORAGE_VOL */
export function requireFound({ volumes }: PoolContents, { name }: StoredVolume): StoredVolume {
  const found = volumes.find((volume) => volume.name === name);
  if (found === undefined) throw noVolume(`name '${name}': it is gone`);
  return found;
}

/** @throws VirtError where there is no such device */
export async function requireDevice(path: string): Promise<void> {
  try {
    await fs.access(path);
  } catch (error) {
    throw systemError(`device path '${path}' doesn't exist`, error);
  }
}

/** Whether a path leads to something. */
export async function isThere(path: string): Promise<boolean> {
  return await fs.access(path).then(
    () => true,
    () => false,
  );
}

/** @throws VirtError naming what is on the device */
export async function requireEmpty(host: BackendHost, device: string, signal: AbortSignal | undefined): Promise<void> {
  const found = await host.run(planProbeDevice(device), { signal });
  const type = /^(?:TYPE|PTTYPE)=(.*)$/m.exec(found)?.[1];
  if (type === undefined) return;
  throw storageError(
    `Format of device '${device}' is ${type}: it is not empty; build with overwrite to lose what is on it`,
    ErrorCode.OPERATION_FAILED,
  );
}

/** Encrypts a new device, or copies a volume to it, and sets its owner. */
async function fillDevice(
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
