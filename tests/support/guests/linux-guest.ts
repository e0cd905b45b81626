/**
 * The Linux test guest: the distribution's kernel with an initramfs of busybox, some modules and `init.sh`. It is for what
 * needs a real operating system inside; boot-sector guests start twenty times faster and do for the rest.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildOnce } from './cache.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { testKernel } from './kernel.ts';
import { type KernelModule, resolveModules } from './kernel-modules.ts';

/** Loaded at boot where the kernel has them as modules. Each one costs some milliseconds under TCG. */
const STANDARD_MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_net',
  'virtio_console',
  'virtio_scsi',
  'virtio_balloon',
  'virtio_rng',
  'sd_mod',
  'ext4',
  '9p',
  '9pnet_virtio',
  'button',
  'evdev',
];
const DIRECTORIES = [
  'bin',
  'sbin',
  'dev',
  'etc',
  'etc/acpi',
  'etc/acpi/PWRF',
  'lib',
  'lib/modules',
  'mnt',
  'proc',
  'root',
];
const MORE_DIRECTORIES = ['run', 'sys', 'tmp'];
const BUSYBOX_PATHS = ['/bin/busybox', '/usr/bin/busybox'];

/** What the guest prints when it is up. */
export const LINUX_GUEST_READY = 'nestling guest ready';
/** Kernel command line for a console on the first serial port; add `nestling.run=…` (see `init.sh`). */
export const LINUX_GUEST_CMDLINE = 'console=ttyS0 quiet panic=-1';

export interface LinuxGuest {
  kernel: string;
  initrd: string;
}

export interface LinuxGuestOptions {
  /** More kernel modules to load at boot, by name (`virtiofs`, `vmw_vsock_virtio_transport`, `nvme`, `ahci`, …). */
  modules?: readonly string[];
  /** More files, executable, by path (`sbin/box`); their directories are made. `etc/guest.sh` takes over PID 1: see `init.sh`. */
  files?: Readonly<Record<string, string>>;
}

/** Paths of kernel and initramfs, built on first use (26 MB are downloaded then) and cached. */
export async function linuxGuest({ modules = [], files = {} }: LinuxGuestOptions = {}): Promise<LinuxGuest> {
  const kernel = await testKernel();
  const content = { init: readInit(), busybox: readBusybox(), names: [...STANDARD_MODULES, ...modules] };
  const hash = createHash('sha256').update(kernel.id).update(content.init).update(content.busybox.content);
  hash.update(content.names.join()).update(ENTRIES_VERSION);
  if (Object.keys(files).length > 0) hash.update(JSON.stringify(files));
  const key = hash.digest('hex').slice(0, 16);
  const entry = await buildOnce(`initramfs-${key}`, async (into) => {
    const entries = initramfs(content.init, content.busybox, resolveModules(kernel.modules, content.names));
    entries.push(...moreFiles(files, entries));
    // Not compressed: under emulation, unpacking costs more than reading.
    await writeFile(join(into, 'initrd.cpio'), writeCpio(entries));
  });
  return { kernel: kernel.image, initrd: join(entry, 'initrd.cpio') };
}

/** Changes when `initramfs` puts something else into the archive for the same input. */
const ENTRIES_VERSION = '1';

interface Busybox {
  content: Buffer;
  applets: string[];
}

function initramfs(init: Buffer, busybox: Busybox, modules: readonly KernelModule[]): CpioEntry[] {
  const directories = [...DIRECTORIES, ...MORE_DIRECTORIES];
  return [
    ...directories.map((path): CpioEntry => ({ path, type: 'directory' })),
    { path: 'dev/console', type: 'character-device', major: 5, minor: 1 },
    { path: 'init', type: 'file', mode: 0o755, content: init },
    { path: 'bin/busybox', type: 'file', mode: 0o755, content: busybox.content },
    ...busybox.applets.map((name): CpioEntry => ({ path: `bin/${name}`, type: 'link', target: 'busybox' })),
    script('etc/acpi/PWRF/00000080', 'echo "power button pressed" > /dev/console\nexec busybox poweroff -f'),
    script('etc/udhcpc.sh', DHCP_SCRIPT),
    { path: 'etc/passwd', type: 'file', content: Buffer.from('root::0:0:root:/root:/bin/sh\n') },
    { path: 'etc/group', type: 'file', content: Buffer.from('root:x:0:\n') },
    ...modules.map(({ name, content }): CpioEntry => ({ path: `lib/modules/${name}.ko`, type: 'file', content })),
    { path: 'lib/modules/order', type: 'file', content: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')) },
  ];
}

const DHCP_SCRIPT = `case $1 in
bound | renew)
  ip addr add "$ip/$mask" dev "$interface"
  [ -n "$router" ] && ip route add default via "\${router%% *}"
  for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
  echo "nestling net: $ip" ;;
deconfig) ip link set "$interface" up ;;
esac`;

function moreFiles(files: Readonly<Record<string, string>>, present: readonly CpioEntry[]): CpioEntry[] {
  const there = new Set(present.map(({ path }) => path));
  return Object.entries(files).flatMap(([path, text]) => {
    const parts = path.split('/').slice(0, -1);
    const above = parts.map((_, index) => parts.slice(0, index + 1).join('/')).filter((parent) => !there.has(parent));
    for (const parent of above) there.add(parent);
    const content = Buffer.from(text);
    return [
      ...above.map((parent): CpioEntry => ({ path: parent, type: 'directory' })),
      { path, type: 'file', mode: 0o755, content } as const,
    ];
  });
}

function script(path: string, body: string): CpioEntry {
  return { path, type: 'file', mode: 0o755, content: Buffer.from(`#!/bin/sh\n${body}\n`) };
}

function readInit(): Buffer {
  return readFileSync(new URL('init.sh', import.meta.url));
}

function readBusybox(): Busybox {
  const path = BUSYBOX_PATHS.find((candidate) => existsSync(candidate));
  if (path === undefined) throw new Error('build the Linux test guest: no busybox here; install busybox-static');
  const content = readFileSync(path);
  if (isDynamic(content)) throw new Error(`build the Linux test guest: ${path} is not static; install busybox-static`);
  const applets = execFileSync(path, ['--list'], { encoding: 'utf8' }).split('\n');
  return { content, applets: applets.filter((name) => name !== '' && name !== 'busybox') };
}

/** A 64-bit ELF program with an interpreter (PT_INTERP, 3, in its program headers) needs libraries, and the guest has none. */
function isDynamic(program: Buffer): boolean {
  const offset = Number(program.readBigUInt64LE(32));
  const size = program.readUInt16LE(54);
  const count = program.readUInt16LE(56);
  return Array.from({ length: count }, (_, index) => program.readUInt32LE(offset + index * size)).includes(3);
}
