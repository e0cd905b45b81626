/** Containers that do what the boot sectors of the contract do, and what of the contract containers cannot do. */
import { escapeXml, type TestDomain } from '../support/domain-xml.ts';
import { greetingOf } from '../support/guests/boot-sectors.ts';
import type { Guest, GuestKind } from './setting.ts';

/** Shell lines; a guest that the contract does not use as a container has none. */
const LINES: Partial<Record<Guest, string>> = {
  halt: 'while :; do sleep 1; done',
  poweroff: 'exit 0',
  powerbutton: `trap 'exit 0' TERM; echo '${greetingOf('powerbutton')}'; while :; do sleep 0.1; done`,
  echo: `stty raw -echo; echo '${greetingOf('echo')}'; exec cat`,
};

/** `rootfs`: told when the first definition is asked for. */
export function containersIn(rootfs: () => string): GuestKind {
  return { canPause: false, define: async (guest, overrides) => containerXml(guest, overrides, rootfs()) };
}

function containerXml(guest: Guest, { name = '', uuid, memoryMiB = 64 }: TestDomain, rootfs: string): string {
  const line = LINES[guest];
  if (line === undefined) throw new TypeError(`there is no container that does what '${guest}' does`);
  return `<domain type='lxc'><name>${escapeXml(name)}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}
    <memory unit='MiB'>${memoryMiB}</memory>
    <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>${escapeXml(line)}</initarg></os>
    <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem><console type='pty'/></devices>
  </domain>`;
}

const NO_HARDWARE = 'containers have no virtual hardware';
const NO_MEMORY_IMAGE = 'the memory of a container cannot be saved';

export const CONTAINER_SKIPS: Readonly<Record<string, string>> = {
  'says what it is': 'it is LXC, and has no capabilities of machines; lxc-daemon.test.ts asks for what it has',
  'starts paused, resumes, pauses, ends': 'a container cannot be started paused, as in libvirt',
  'saves to a file and restores': NO_MEMORY_IMAGE,
  'keeps a managed save for the next start': NO_MEMORY_IMAGE,
  'plugs and unplugs a USB device': NO_HARDWARE,
  'plugs a disk, and tells its size and traffic': NO_HARDWARE,
  'changes the medium of a drive': NO_HARDWARE,
  'changes the virtual CPUs of the next start': NO_HARDWARE,
  'measures virtual CPUs and disks': NO_HARDWARE,
  'pins virtual CPUs': NO_HARDWARE,
  'talks with the monitor': 'containers have no monitor',
  'compares processors': 'containers use the processors of the host as they are',
};
