/** A root file system of busybox alone, for containers of tests, and whether this host can run any. */
import { copyFileSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { lookUpProgram } from '../../src/process/find-program.ts';

const PROGRAMS =
  'sh cat ls mount umount id ps tty touch echo sleep mknod ip nc ping tail head wc dd stat grep setsid kill ln mkdir rm df mkfifo init poweroff halt reboot chroot unshare readlink test true chmod od free stty usleep';

/** Says loudly why not. */
export function canRunContainers(): boolean {
  const isAble = lookUpProgram('crun') !== undefined && process.getuid?.() === 0 && existsSync('/bin/busybox');
  if (!isAble) process.stderr.write('\nSKIPPED: containers need root, crun and busybox-static\n\n');
  return isAble;
}

/** Files of a connection's or a daemon's folder with which its containers run on runc. */
export const RUNC_SETTINGS = { 'etc/lxc.conf': 'runtime = "runc"\n' } as const;

/** Says loudly why not. */
export function canRunOnRunc(): boolean {
  const missing = ['runc', 'conmon'].filter((name) => lookUpProgram(name) === undefined);
  if (missing.length > 0)
    process.stderr.write(`\nSKIPPED: containers on runc: ${missing.join(', ')} not installed\n\n`);
  return missing.length === 0 && canRunContainers();
}

/** @returns the root's path */
export function makeBusyboxRoot(folder: string): string {
  const rootfs = join(folder, 'rootfs');
  for (const dir of ['bin', 'sbin', 'proc', 'sys', 'dev', 'tmp', 'etc', 'mnt', 'run']) {
    mkdirSync(join(rootfs, dir), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  for (const name of PROGRAMS.split(' ')) symlinkSync('busybox', join(rootfs, 'bin', name));
  symlinkSync('../bin/busybox', join(rootfs, 'sbin/init'));
  return rootfs;
}

/** A container of that root, whose first program is a shell with that line. */
export function shellContainer(
  name: string,
  { root, line, rest = '', devices = '' }: { root: string; line: string; rest?: string; devices?: string },
): string {
  return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>${rest}
    <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg><![CDATA[${line}]]></initarg></os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem>${devices}</devices></domain>`;
}
