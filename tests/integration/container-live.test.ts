/** What is given to running containers and taken from them: file systems and device nodes. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { changeMounts } from '../../src/driver/lxc/host/mount-namespace.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { type Box, startBox } from './container-box.ts';

describe.skipIf(!canRunContainers())('a running container', () => {
  let folder = '';
  let rootfs = '';
  let shared = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nt-live-'));
    rootfs = makeBusyboxRoot(folder);
    shared = join(folder, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), 'from the host');
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  /** A shell that does what it is told on its console. */
  async function startShell(rest = ''): Promise<Box & { ask: (line: string) => Promise<string>; pid: number }> {
    const line = 'stty -echo; echo ready; while read -r line; do eval "$line"; echo "::end"; done';
    const box = await startBox({ folder, rootfs, line, rest });
    await box.until('ready');
    let seen = box.output().indexOf('ready') + 'ready\r\n'.length;
    const ask = async (question: string): Promise<string> => {
      box.write(`${question}\n`);
      while (!box.output().slice(seen).includes('::end\r\n')) await box.untilMore();
      const answer = box.output().slice(seen).replaceAll('\r\n', '\n');
      seen = box.output().length;
      return answer.replace(/::end\n$/, '');
    };
    if (box.initPid === undefined) throw new Error('the container has ended');
    return { ...box, ask, pid: box.initPid };
  }

  it('gets directories, files and memory, and loses them', async () => {
    await using box = await startShell();
    const { pid: initPid } = box;
    await changeMounts({ kind: 'bind', source: shared, readonly: false, target: '/mnt/new/deep' }, { initPid });
    expect(await box.ask('cat /mnt/new/deep/file; touch /mnt/new/deep/made && echo written')).toBe(
      'from the hostwritten\n',
    );
    expect(existsSync(join(shared, 'made'))).toBe(true);
    // The host's own view has none of it.
    expect(readdirSync(join(rootfs, 'mnt/new/deep'))).toEqual([]);
    await changeMounts({ kind: 'unmount', target: '/mnt/new/deep', andFile: false }, { initPid });
    expect(await box.ask('ls -A /mnt/new/deep')).toBe('');

    const file = join(shared, 'file');
    await changeMounts({ kind: 'bind', source: file, readonly: true, target: '/mnt/one' }, { initPid });
    expect(await box.ask('cat /mnt/one; echo x > /mnt/one')).toMatch(/^from the host.*Read-only file system/);
    await changeMounts({ kind: 'memory', bytes: 65_536, readonly: false, target: '/mnt/ram' }, { initPid });
    expect(await box.ask('df /mnt/ram')).toMatch(/tmpfs +64 +0 +64/);
  });

  it('gets device nodes that work, and loses them', async () => {
    await using box = await startShell();
    const { pid: initPid } = box;
    const node = { kind: 'node', type: 'c', major: 1, minor: 5, mode: 0o600, target: '/dev/given/zero' } as const;
    await changeMounts(node, { initPid });
    expect(await box.ask('head -c 3 /dev/given/zero | od -An -tx1; stat -c "%a %t:%T" /dev/given/zero')).toBe(
      ' 00 00 00\n600 1:5\n',
    );
    await changeMounts({ kind: 'unmount', target: '/dev/given/zero', andFile: true }, { initPid });
    expect(await box.ask('ls /dev/given')).toBe('');
  });

  it('gets them too where its users are mapped', async () => {
    execFileSync('chown', ['-R', '100000:100000', rootfs]);
    try {
      const map = "<uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/>";
      await using box = await startShell(`<idmap>${map}</idmap>`);
      const options = { initPid: box.pid, owner: [100_000, 100_000] } as const;
      const node = { kind: 'node', type: 'c', major: 1, minor: 5, mode: 0o600, target: '/dev/zero2' } as const;
      await changeMounts(node, options);
      expect(await box.ask('head -c 1 /dev/zero2 | od -An -tx1; stat -c %u /dev/zero2')).toBe(' 00\n0\n');
      await changeMounts({ kind: 'memory', bytes: 65_536, readonly: false, target: '/tmp/own' }, options);
      expect(await box.ask('touch /tmp/own/x && ls /tmp/own')).toBe('x\n');
    } finally {
      execFileSync('chown', ['-R', '0:0', rootfs]);
    }
  });

  it('cannot lead them to the host by links', async () => {
    const outside = join(folder, 'outside');
    mkdirSync(outside, { recursive: true });
    mkdirSync(join(rootfs, outside), { recursive: true });
    symlinkSync(outside, join(rootfs, 'mnt/absolute'));
    symlinkSync(`../../../../../../../..${outside}`, join(rootfs, 'mnt/relative'));
    symlinkSync('/proc/1/root/../../../..', join(rootfs, 'mnt/magic'));
    await using box = await startShell();
    const { pid: initPid } = box;
    for (const name of ['absolute', 'relative', 'magic']) {
      await changeMounts({ kind: 'bind', source: shared, readonly: false, target: `/mnt/${name}/x` }, { initPid });
      expect(await box.ask(`cat /mnt/${name}/x/file`)).toBe('from the host');
    }
    expect(readdirSync(outside)).toEqual([]);
    expect(existsSync('/x')).toBe(false);
    // Below its own root they may lead wherever they like.
    expect([existsSync(join(rootfs, outside, 'x')), existsSync(join(rootfs, 'x'))]).toEqual([true, true]);
  });

  it('says what is wrong', async () => {
    await using box = await startShell();
    const { pid: initPid } = box;
    const bind = (source: string, target: string) =>
      changeMounts({ kind: 'bind', source, readonly: false, target }, { initPid });
    await expect(bind('/nowhere', '/mnt/x')).rejects.toThrow(
      /cannot attach \/nowhere to \/mnt\/x .*no such file or directory on the host/,
    );
    await expect(bind(join(shared, 'file'), '/tmp')).rejects.toThrow(/one is a directory/);
    await expect(changeMounts({ kind: 'unmount', target: '/tmp', andFile: false }, { initPid })).rejects.toThrow(
      /cannot detach \/tmp .*nothing is mounted there/,
    );
    await expect(
      changeMounts({ kind: 'unmount', target: '/tmp', andFile: false }, { initPid: process.pid }),
    ).rejects.toThrow(/has the mounts of the host/);
    await expect(
      changeMounts({ kind: 'unmount', target: '/tmp', andFile: false }, { initPid: 4_000_000 }),
    ).rejects.toThrow(/has ended/);
  });
});
