/** `nestling image run`: a command in an image or folder, what it sees, what it changes, and what is left of it: nothing. */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planForeign, readBinfmtFacts } from '../../src/host/binfmt.ts';
import { machineProgram } from '../support/arm64-program.ts';
import { nestling, shell, startNestling } from './cli-session.ts';
import { canRunImages, type ImageSession, makeRoot, openImages } from './image-session.ts';

const foreign = planForeign('aarch64', readBinfmtFacts()).kind;
if (foreign !== 'private')
  process.stderr.write(`SKIPPED: programs for arm64 are '${foreign}' here, not in a namespace of their own\n`);

describe.skipIf(!canRunImages())('a command in an image', () => {
  let images: ImageSession;
  beforeAll(async () => {
    images = await openImages();
  });
  afterAll(() => images[Symbol.dispose]());

  it('passes output, environment and status', async () => {
    const ended = await images.image(
      'run',
      '--env',
      'WORD=hello',
      '--cwd',
      '/tmp',
      'busybox:test',
      '--',
      'sh',
      '-c',
      'echo $WORD $container; pwd; exit 7',
    );
    expect(ended).toMatchObject({ status: 7, stdout: 'hello nestling\n/tmp\n' });
    expect((await images.image('run', 'busybox:test', '--', 'sh', '-c', 'kill -KILL $$')).status).toBe(137);
    expect((await images.image('run', 'busybox:test', '--', 'nonesuch')).status).toBe(127);
    expect((await images.image('run', '--cwd', '/none', 'busybox:test', '--', 'id')).status).toBe(125);
  });

  it('is a system of its own: processes, devices, a read-only /sys, and nothing of the host', async () => {
    const script = 'ls /dev; ls /proc/1/root/; ls /..; touch /sys/x 2>&1; cat /proc/mounts; cat /etc/resolv.conf';
    const { stdout } = await images.image('run', 'busybox:test', '--', 'sh', '-c', script);
    expect(stdout).toMatch(/^fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/);
    expect(stdout).toContain('Read-only file system');
    const folders = 'bin\ndev\netc\nhome\nproc\nroot\nrun\nsys\ntmp\n';
    expect(stdout.split(folders)).toHaveLength(3);
    expect(stdout).not.toMatch(/ \/(mnt|var|\.host|dev\/\.tools)\b/);
    expect(stdout.endsWith(readFileSync('/etc/resolv.conf', 'utf8'))).toBe(true);
  });

  it('has the input, the network and the terminal of its caller, and a name of its own', async () => {
    const ended = await nestling(['image', 'run', 'busybox:test', '--', 'cat'], { env: images.env, input: 'typed' });
    expect(ended).toMatchObject({ status: 0, stdout: 'typed' });
    const { stdout } = await images.image('run', 'busybox:test', '--', 'readlink', '/proc/self/ns/net');
    expect(stdout.trim()).toBe(readlinkSync('/proc/self/ns/net'));
    const folder = makeRoot(join(images.folder, 'named'));
    writeFileSync(join(folder, 'etc/hostname'), 'farm-1\n');
    const named = await images.image('run', folder, '--', 'sh', '-c', 'busybox hostname; busybox hostname changed');
    expect(named).toMatchObject({ status: 0, stdout: 'farm-1\n' });
    expect(hostname()).not.toMatch(/farm-1|changed/);
    const line = `NESTLING_CACHE_DIR=${images.env['NESTLING_CACHE_DIR']} nestling image run busybox:test -- sh`;
    await using session = await shell(line, { terminal: true });
    session.process.stdin.write('busybox tty; busybox hostname; exit 7\n');
    await session.stdout.until(/\n\/dev\/console\r?\nlocalhost/);
    expect((await session.ended).status).toBe(7);
  });

  it('throws changes away, keeps those of --write, and saves those of --save', async () => {
    const folder = makeRoot(join(images.folder, 'folder'));
    await images.image('run', folder, '--', 'touch', '/root/gone');
    expect(existsSync(join(folder, 'root/gone'))).toBe(false);
    await images.image('run', '--write', folder, '--', 'touch', '/root/kept');
    expect(existsSync(join(folder, 'root/kept'))).toBe(true);
    const script = 'echo new >/root/new; rm /etc/group';
    expect(
      (await images.image('run', '--save', 'changed', 'busybox:test', '--', 'busybox', 'sh', '-c', script)).status,
    ).toBe(0);
    expect((await images.image('run', 'changed', '--', 'sh', '-c', 'cat /root/new; ls /etc')).stdout).toBe(
      'new\nhosts\npasswd\nresolv.conf\nshadow\n',
    );
    expect((await images.image('run', 'busybox:test', '--', 'ls', '/etc/group')).status).toBe(0);
    expect((await images.image('run', '--write', 'busybox:test', '--', 'id')).stderr).toContain(
      '--save NAME makes another image',
    );
  });

  it('mounts nothing where a link of the root would lead it', async () => {
    const folder = makeRoot(join(images.folder, 'hostile'));
    const outside = join(images.folder, 'outside');
    mkdirSync(outside);
    symlinkSync(outside, join(folder, 'proc'));
    const ended = await images.image('run', folder, '--', 'id');
    expect(ended).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('/proc of this root is a symbolic link'),
    });
    expect(readdirSync(outside)).toEqual([]);
  });

  it('leaves nothing when it is killed, and what lies in the store is collected', async () => {
    await using session = await startNestling(
      ['image', 'run', 'busybox:test', '--', 'sh', '-c', 'sleep 1000 & echo up; sleep 1001'],
      images.env,
    );
    await session.stdout.until(/up/);
    expect((await images.image('rm', 'busybox:test')).stderr).toMatch(/is in use: process \d+ runs on it/);
    session.process.kill('SIGKILL');
    await session.ended;
    await images.image('list');
    expect(images.leftovers()).toEqual([]);
    // Processes and mounts: the leak check of this file.
  });

  it.skipIf(foreign !== 'private')('runs programs for arm64, and registers nothing on the host', async () => {
    const folder = join(images.folder, 'arm');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    writeFileSync(join(folder, 'bin/sh'), machineProgram({ length: 7, status: 9 }), { mode: 0o755 });
    expect(await images.image('run', folder, '--', '/bin/sh')).toMatchObject({
      status: 9,
      stdout: 'aarch64',
      stderr: '',
    });
    expect(readBinfmtFacts().registered).not.toContain('aarch64');
  });
});
