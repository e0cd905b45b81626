/**
 * Debian's libvirtd with its driver of containers, to compare with. It counts on cgroups that it does not share with the v2 tree: on hosts with both, that is not
 * mounted where it runs. What it leaves of its groups is removed.
 */
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Libvirtd, startLibvirtd } from './libvirtd.ts';

const DRIVER = 'libvirt/connection-driver/libvirt_driver_lxc.so';
const CGROUPS = '/sys/fs/cgroup';
const UNIFIED = join(CGROUPS, 'unified');
/** Partition of its containers. It stays when they have gone. */
const PARTITION = 'machine';

/** Says loudly why not. */
export function hasLibvirtLxc(): boolean {
  const folders = readdirSync('/usr/lib').flatMap((name) => [join('/usr/lib', name), '/usr/lib64']);
  const isThere = folders.some((folder) => existsSync(join(folder, DRIVER)));
  if (!isThere) {
    process.stderr.write("\nSKIPPED, LOUDLY: libvirt's own driver of containers (libvirt-daemon-driver-lxc)\n\n");
  }
  return isThere;
}

export interface LibvirtLxc extends AsyncDisposable {
  /** `lxc+unix:///system?socket=…`. */
  readonly uri: string;
}

/** Containers are to be destroyed before it is disposed of. */
export async function startLibvirtLxc(): Promise<LibvirtLxc> {
  const before = existsSync(UNIFIED) ? [`umount ${UNIFIED}`] : [];
  const partitions = partitionsOf().filter((path) => !existsSync(path));
  const libvirtd: Libvirtd = await startLibvirtd('', { before });
  return {
    uri: libvirtd.uri.replace(/^qemu/, 'lxc'),
    [Symbol.asyncDispose]: async () => {
      await libvirtd[Symbol.asyncDispose]();
      for (const path of partitions) if (existsSync(path)) rmdirSync(path);
    },
  };
}

function partitionsOf(): string[] {
  const trees = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...trees.map(({ name }) => join(CGROUPS, name, PARTITION)), join(CGROUPS, PARTITION)];
}
