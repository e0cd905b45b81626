/**
 * The Linux test guest with Debian's dropbear: it asks for an address, and then lets one key in as root. For clients that bring machines up and
 * want to talk to them over SSH (vagrant).
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { lookUpProgram } from '../../../src/process/find-program.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { LINUX_GUEST_CMDLINE, linuxGuest } from './linux-guest.ts';

const DROPBEAR = '/usr/sbin/dropbear';

export interface SshGuest {
  readonly kernel: string;
  readonly initrd: string;
  readonly cmdline: string;
}

export function hasDropbear(): boolean {
  return lookUpProgram(DROPBEAR) !== undefined;
}

/** `initrd`: where it is written. */
export async function sshGuest(initrd: string, publicKey: string): Promise<SshGuest> {
  const linux = await linuxGuest();
  // The kernel unpacks one archive after the other.
  await writeFile(initrd, Buffer.concat([readFileSync(linux.initrd), writeCpio(entries(publicKey))]));
  const cmdline = `${LINUX_GUEST_CMDLINE} nestling.net=dhcp nestling.run=/sbin/ssh-session`;
  return { kernel: linux.kernel, initrd, cmdline };
}

function entries(publicKey: string): CpioEntry[] {
  const programs = new Map([['sbin/dropbear', DROPBEAR], ...librariesOf(DROPBEAR)]);
  const directories = ['etc/dropbear', 'root/.ssh', 'lib64', 'lib/x86_64-linux-gnu'];
  for (const path of programs.keys()) if (!directories.includes(dirname(path))) directories.push(dirname(path));
  const session = '#!/bin/sh\nexec dropbear -F -E -R -s\n';
  return [
    ...directories.map((path): CpioEntry => ({ path, type: 'directory', mode: path === 'root/.ssh' ? 0o700 : 0o755 })),
    ...[...programs].map(
      ([path, source]): CpioEntry => ({ path, type: 'file', mode: 0o755, content: readFileSync(realpathSync(source)) }),
    ),
    // vagrant edits it.
    { path: 'etc/fstab', type: 'file', content: new Uint8Array() },
    { path: 'root/.ssh/authorized_keys', type: 'file', mode: 0o600, content: Buffer.from(publicKey) },
    { path: 'sbin/ssh-session', type: 'file', mode: 0o755, content: Buffer.from(session) },
  ];
}

/** Where each goes in the guest, and where it is here. */
function librariesOf(program: string): [string, string][] {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...listed.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path = '']) => [path.slice(1), path]);
}
