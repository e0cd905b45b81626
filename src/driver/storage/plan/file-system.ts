/** Command lines that make and mount file systems: pure. */
import type { Pool } from '../../../model/storage/pool.ts';
import { type Command, command } from './command.ts';

/** Makes the file system of a `fs` pool on its device. */
export function planMakeFileSystem(device: string, format: string): Command {
  // Most tools ask before they overwrite; the one who calls has looked.
  const force = FORCE[format] ?? [];
  return command('mkfs', '-t', format, ...force, device);
}

const FORCE: Readonly<Record<string, readonly string[]>> = {
  xfs: ['-f'],
  ext2: ['-F'],
  ext3: ['-F'],
  ext4: ['-F'],
};

/** Says what is on a device; nothing and status 2 where it is empty. */
export function planProbeDevice(device: string): Command {
  return { ...command('blkid', '-p', '-o', 'export', device), accepts: [2] };
}

/** Mounts the source of a `fs` or `netfs` pool at its target. */
export function planMount(pool: Pool): Command {
  const source = mountSource(pool);
  const format = pool.source?.format?.type ?? 'auto';
  const type = format === 'auto' && pool.type === 'netfs' ? 'nfs' : format;
  const options = [...fixedOptions(pool, format), ...(pool.mountOptions?.options.map(({ name }) => name) ?? [])];
  return command(
    'mount',
    ...(type === 'auto' ? [] : ['-t', type]),
    ...(options.length === 0 ? [] : ['-o', options.join(',')]),
    source,
    pool.target?.path ?? '',
  );
}

export function planUnmount(pool: Pool): Command {
  return command('umount', pool.target?.path ?? '');
}

/** What the mount table calls the source of a pool. */
export function mountSource({ type, source }: Pool): string {
  if (type === 'fs') return source?.devices[0]?.path ?? '';
  const host = source?.hosts[0]?.name ?? '';
  const bracketed = host.includes(':') ? `[${host}]` : host;
  const dir = source?.dir?.path ?? '';
  switch (source?.format?.type) {
    case 'cifs':
      return `//${host}/${dir.replace(/^\/+/, '')}`;
    case 'glusterfs':
      return `${bracketed}:${dir.startsWith('/') ? '' : '/'}${dir}`;
    default:
      return `${bracketed}:${dir}`;
  }
}

/** A share is not trusted with programs of this host's administrator. */
function fixedOptions({ type, source }: Pool, format: string): string[] {
  if (type === 'fs') return ['nodev', 'nosuid', 'noexec'];
  const version = source?.protocol?.ver;
  if (format === 'glusterfs') return ['direct-io-mode=1', 'nodev', 'nosuid', 'noexec'];
  if (format === 'cifs') return ['guest', 'nodev', 'nosuid', 'noexec'];
  return [...(version === undefined ? [] : [`nfsvers=${version}`]), 'nodev', 'nosuid', 'noexec'];
}
