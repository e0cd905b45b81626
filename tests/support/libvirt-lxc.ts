/**
 * Debian's libvirtd with its driver of containers, to compare with. It counts on cgroups that it does not share with the v2 tree: on hosts with both, that is not
 * mounted where it runs. What it leaves of its groups is removed.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Libvirtd, startLibvirtd } from './libvirtd.ts';
import { MachinePartition, machinePartitions, tryRemove } from './machine-partition.ts';
import { pollUntil } from './poll.ts';

const DRIVER = 'libvirt/connection-driver/libvirt_driver_lxc.so';
const UNIFIED = '/sys/fs/cgroup/unified';

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

/** Names of containers that are started there begin so: their groups are told from others'. */
export const COMPARED = 'beside-';

/** Containers are to be destroyed before it is disposed of. */
export async function startLibvirtLxc(): Promise<LibvirtLxc> {
  const before = existsSync(UNIFIED) ? [`umount ${UNIFIED}`] : [];
  const partition = new MachinePartition();
  const libvirtd: Libvirtd = await startLibvirtd('', { before });
  return {
    uri: libvirtd.uri.replace(/^qemu/, 'lxc'),
    [Symbol.asyncDispose]: async () => {
      await libvirtd[Symbol.asyncDispose]();
      // It leaves those whose processes took longer to end than it waited.
      const isClean = (): boolean => leftGroups().filter((path) => !tryRemove(path)).length === 0;
      await pollUntil(isClean, () => `groups of libvirtd's cannot be removed: ${leftGroups().join(', ')}`);
      partition[Symbol.dispose]();
    },
  };
}

function leftGroups(): string[] {
  const isOurs = (name: string): boolean => /^lxc-\d+-/.test(name) && name.includes(`-${COMPARED}`);
  return machinePartitions().flatMap((path) => {
    const names = readdirSync(path).filter(isOurs);
    return names.map((name) => join(path, name));
  });
}
