/**
 * Runs inside the v2 guest, in a group that is given to a user as systemd gives one (`Delegate=yes`): becomes that user, and starts a container with
 * limits in it. Or in one that is root's.
 */
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { connect, VirtError } from '../../src/index.ts';
import { ROOT, read, runScenario } from './cgroup-v2-groups.ts';

const UID = 1000;
const HOME = '/tmp/home';

await runScenario({
  delegated: async () => {
    for (const file of ['', 'cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads'])
      chownSync(`${ROOT}/${file}`, UID, UID);
    return await asUser();
  },
  roots: asUser,
});

async function asUser(): Promise<unknown> {
  const root = makeRoot();
  process.setgroups?.([]);
  process.setgid?.(UID);
  process.setuid?.(UID);
  process.env['HOME'] = HOME;
  process.env['TMPDIR'] = HOME;
  const notes: string[] = [];
  await using connection = await connect('lxc:///embed', { onNote: (note) => notes.push(note) });
  const xml = (
    name: string,
    rest: string,
  ): string => `<domain type='lxc'><name>${name}</name><memory unit='MiB'>40</memory>${rest}
    <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>sleep 1000; true</initarg></os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
  const limits = "<memtune><hard_limit unit='MiB'>32</hard_limit></memtune><cputune><shares>50</shares></cputune>";
  const seen: Record<string, unknown> = {};
  try {
    await using limited = await connection.createDomain(xml('limited', limits));
    const group = readdirSync(ROOT).find((name) => name.includes('limited')) ?? '';
    seen['limits'] = [read(`${group}/memory.max`), read(`${group}/cpu.weight`), read(`${group}/pids.max`) !== 'max'];
    await limited.suspend();
    seen['frozen'] = read(`${group}/cgroup.events`).includes('frozen 1');
    await limited.resume();
    await limited.setMemoryParameters({ hard_limit: 30 * 1024 });
    seen['changed'] = read(`${group}/memory.max`);
    seen['stats'] = (await limited.stats())['cgroup.pids'];
    await limited.destroy();
    seen['left'] = readdirSync(ROOT).filter((name) => name.includes('limited'));
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    seen['refused'] = error.message;
  }
  await using plain = await connection.createDomain(xml('plain', ''));
  await plain.suspend();
  seen['plain'] = (await plain.info()).state;
  await plain.destroy();
  return { ...seen, notes };
}

function makeRoot(): string {
  const root = join(HOME, 'rootfs');
  if (existsSync(root)) return root;
  for (const dir of ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc']) mkdirSync(join(root, dir), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const name of ['sh', 'sleep', 'true']) symlinkSync('busybox', join(root, 'bin', name));
  chmodSync('/tmp', 0o1777);
  chownSync(HOME, UID, UID);
  return root;
}
