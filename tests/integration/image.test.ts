/**
 * `nestling image` on this host: roots of busybox, packed by the test itself, are imported, run in, unpacked and provisioned; a repository of
 * one package in a folder is the mirror; hostile roots and archives are tried. One test builds a real Debian where a mirror answers.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planForeign, readBinfmtFacts } from '../../src/host/binfmt.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { type Ended, nestling, startNestling } from './cli-session.ts';

const BUSYBOX = '/bin/busybox';
const canRun =
  process.getuid?.() === 0 && existsSync(BUSYBOX) && spawnSync('unshare', ['-m', '-p', '-f', 'true']).status === 0;
if (!canRun) process.stderr.write('SKIPPED: images need root, namespaces and busybox-static\n');
const foreign = planForeign('aarch64', readBinfmtFacts()).kind;
if (foreign !== 'private')
  process.stderr.write(`SKIPPED: programs for arm64 are '${foreign}' here, not in a namespace of their own\n`);
const canBuild = lookUpProgram('mmdebstrap') !== undefined && lookUpProgram('dpkg-deb') !== undefined;
if (!canBuild) process.stderr.write('SKIPPED: building needs mmdebstrap\n');

let scratch: string;
let tarball: string;
let env: NodeJS.ProcessEnv;
const image = async (...args: string[]): Promise<Ended> => await nestling(['image', ...args], { env });
const storeFolders = (): string[] => readdirSync(join(scratch, 'cache/images'));

/** A root with busybox under the names that the tests use. */
function makeRoot(path: string): string {
  for (const folder of ['bin', 'etc', 'root', 'tmp', 'home']) mkdirSync(join(path, folder), { recursive: true });
  copyFileSync(BUSYBOX, join(path, 'bin/busybox'));
  chmodSync(join(path, 'bin/busybox'), 0o755);
  for (const name of ['sh', 'cat', 'ls', 'id', 'touch', 'sleep', 'mount', 'stat', 'readlink'])
    symlinkSync('busybox', join(path, 'bin', name));
  writeFileSync(join(path, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(path, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(path, 'etc/shadow'), 'root:*:1::::::\n', { mode: 0o600 });
  return path;
}

function tar(...args: string[]): void {
  const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'i-'));
  env = { NESTLING_CACHE_DIR: join(scratch, 'cache') };
  if (!canRun) return;
  tarball = join(scratch, 'busybox.tar.gz');
  tar('-czf', tarball, '-C', makeRoot(join(scratch, 'made')), '.');
  const imported = await image('import', 'busybox:test', tarball);
  expect(imported).toMatchObject({ status: 0, stderr: '' });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe.skipIf(!canRun)('the store', () => {
  it('lists what was imported, and knows it by name and key', async () => {
    const { stdout } = await image('list', '--json');
    const images: { name: string; key: string; arch: string }[] = JSON.parse(stdout);
    expect(images).toEqual([expect.objectContaining({ name: 'busybox:test', origin: 'imported from busybox.tar.gz' })]);
    expect((await image('run', images[0]?.key.slice(0, 12) ?? '', '--', 'cat', '/etc/group')).stdout).toBe(
      'root:x:0:\n',
    );
    expect((await image('list')).stdout).toMatch(/^NAME +ARCH +SIZE +MADE +KEY\nbusybox:test +\w+ +[\d.]+ [KM]iB /);
  });

  it('removes and exports', async () => {
    const copy = join(scratch, 'copy.tar.gz');
    expect((await image('export', 'busybox:test', copy)).status).toBe(0);
    expect(readFileSync(copy).equals(readFileSync(tarball))).toBe(true);
    await image('import', 'other', copy, '--arch', 'riscv64');
    // The same content has the same key: the name is the newest one's.
    const missing = await image('rm', 'nothing');
    expect(missing).toMatchObject({ status: 1 });
    expect(missing.stderr).toContain("there is no image 'nothing'; 'nestling image build' makes one");
    await image('import', 'busybox:test', tarball);
  });

  it('refuses archives that lead out, and what is none', async () => {
    const evil = join(scratch, 'evil.tar');
    writeFileSync(join(scratch, 'payload'), 'x');
    tar('-cPf', evil, '-C', scratch, '--transform', 's,payload,../../escaped,', 'payload');
    expect((await image('import', 'evil', evil)).stderr).toContain("its entry '../../escaped' leads out of the root");
    expect((await image('import', 'none', BUSYBOX)).stderr).toMatch(/busybox is no tarball/);
    expect((await image('import', 'No Name', tarball)).status).toBe(2);
  });
});

describe.skipIf(!canRun)('run', () => {
  it('passes output, environment and status', async () => {
    const ended = await image(
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
    expect((await image('run', 'busybox:test', '--', 'sh', '-c', 'kill -KILL $$')).status).toBe(137);
    expect((await image('run', 'busybox:test', '--', 'nonesuch')).status).toBe(127);
    expect((await image('run', '--cwd', '/none', 'busybox:test', '--', 'id')).status).toBe(125);
  });

  it('is a system of its own: processes, devices, a read-only /sys, and nothing of the host', async () => {
    const script = 'ls /dev; ls /proc/1/root/; ls /..; touch /sys/x 2>&1; cat /proc/mounts; cat /etc/resolv.conf';
    const { stdout } = await image('run', 'busybox:test', '--', 'sh', '-c', script);
    expect(stdout).toMatch(/^fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/);
    expect(stdout).toContain('Read-only file system');
    const folders = 'bin\ndev\netc\nhome\nproc\nroot\nrun\nsys\ntmp\n';
    expect(stdout.split(folders)).toHaveLength(3);
    expect(stdout).not.toMatch(/ \/(mnt|var|\.host|dev\/\.tools)\b/);
    expect(stdout.endsWith(readFileSync('/etc/resolv.conf', 'utf8'))).toBe(true);
  });

  it('throws changes away, keeps those of --write, and saves those of --save', async () => {
    const folder = makeRoot(join(scratch, 'folder'));
    await image('run', folder, '--', 'touch', '/root/gone');
    expect(existsSync(join(folder, 'root/gone'))).toBe(false);
    await image('run', '--write', folder, '--', 'touch', '/root/kept');
    expect(existsSync(join(folder, 'root/kept'))).toBe(true);
    const script = 'echo new >/root/new; rm /etc/group';
    expect((await image('run', '--save', 'changed', 'busybox:test', '--', 'busybox', 'sh', '-c', script)).status).toBe(
      0,
    );
    expect((await image('run', 'changed', '--', 'sh', '-c', 'cat /root/new; ls /etc')).stdout).toBe(
      'new\npasswd\nresolv.conf\nshadow\n',
    );
    expect((await image('run', 'busybox:test', '--', 'ls', '/etc/group')).status).toBe(0);
    expect((await image('run', '--write', 'busybox:test', '--', 'id')).stderr).toContain(
      '--save NAME makes another image',
    );
  });

  it('mounts nothing where a link of the root would lead it', async () => {
    const folder = makeRoot(join(scratch, 'hostile'));
    const outside = join(scratch, 'outside');
    mkdirSync(outside);
    symlinkSync(outside, join(folder, 'proc'));
    const ended = await image('run', folder, '--', 'id');
    expect(ended).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('/proc of this root is a symbolic link'),
    });
    expect(readdirSync(outside)).toEqual([]);
  });

  it('leaves nothing when it is killed, and what lies in the store is collected', async () => {
    await using session = await startNestling(
      ['image', 'run', 'busybox:test', '--', 'sh', '-c', 'sleep 1000 & echo up; sleep 1001'],
      env,
    );
    await session.stdout.until(/up/);
    expect((await image('rm', 'busybox:test')).stderr).toMatch(/is in use: process \d+ runs on it/);
    session.process.kill('SIGKILL');
    await session.ended;
    await image('list');
    expect(storeFolders().filter((name) => name.startsWith('.work-'))).toEqual([]);
    // Processes and mounts: the leak check of this file.
  });

  it.skipIf(foreign !== 'private')('runs programs for arm64, and registers nothing on the host', async () => {
    const folder = join(scratch, 'arm');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    writeFileSync(join(folder, 'bin/sh'), arm64Program('I am arm64\n', 9), { mode: 0o755 });
    expect(await image('run', folder, '--', '/bin/sh')).toMatchObject({
      status: 9,
      stdout: 'I am arm64\n',
      stderr: '',
    });
    expect(readBinfmtFacts().registered).not.toContain('aarch64');
  });
});

describe.skipIf(!canRun)('unpack', () => {
  it('to a directory, with owners and modes', async () => {
    const target = join(scratch, 'plain');
    expect((await image('unpack', 'busybox:test', target)).status).toBe(0);
    expect(statSync(join(target, 'etc/shadow')).mode & 0o777).toBe(0o600);
    expect((await image('unpack', 'busybox:test', target)).stderr).toContain('is not empty');
  });

  it('with shifted owners', async () => {
    const target = join(scratch, 'shifted');
    expect(await image('unpack', 'busybox:test', target, '--idmap', '100000:65536')).toMatchObject({
      status: 0,
      stderr: '',
    });
    expect(statSync(join(target, 'etc/passwd')).uid).toBe(100_000);
    expect(lstatSync(join(target, 'bin/sh')).gid).toBe(100_000);
  });

  it('as an overlay and in memory, which are in use until they are unmounted', async () => {
    for (const kind of ['overlay', 'tmpfs']) {
      const target = join(scratch, kind);
      expect(await image('unpack', 'busybox:test', target, '--as', kind)).toMatchObject({ status: 0, stderr: '' });
      try {
        writeFileSync(join(target, 'root/x'), '');
        if (kind === 'overlay') {
          expect(existsSync(`${target}.upper/root/x`)).toBe(true);
          expect((await image('rm', 'busybox:test')).stderr).toContain(`${target} is mounted over it`);
        }
      } finally {
        spawnSync('umount', [target]);
      }
    }
  });

  it('says what it would do, and takes back what it has begun', async () => {
    const { stdout } = await image(
      'unpack',
      'busybox:test',
      '/mnt/x/clone',
      '--as',
      'lvm',
      '--pool',
      'group',
      '--size',
      '1G',
      '--dry-run',
    );
    expect(stdout).toMatch(
      /^lvcreate --yes --wipesignatures y --name clone --size 1G group\nmkfs.ext4 -q \/dev\/group\/clone\nmkdir -p \/mnt\/x\/clone\nmount /,
    );
    const target = join(scratch, 'failing');
    const failed = await image('unpack', 'busybox:test', target, '--as', 'tmpfs', '--size', '64K');
    expect(failed).toMatchObject({ status: 1, stderr: expect.stringMatching(/No space left|Wrote only/) });
    expect(existsSync(target)).toBe(false);
  });
});

describe.skipIf(!canRun)('OCI images', () => {
  it('are put together of their layers: what a layer removes is gone, what it hides is hidden', async () => {
    const layout = join(scratch, 'oci');
    const lower = makeRoot(join(scratch, 'lower'));
    for (const path of ['data/old', 'data/sub/deep', 'gone']) {
      mkdirSync(join(lower, path, '..'), { recursive: true });
      writeFileSync(join(lower, path), '');
    }
    const upper = join(scratch, 'upper');
    for (const path of ['data/.wh..wh..opq', 'data/new', 'data/sub/other', '.wh.gone']) {
      mkdirSync(join(upper, path, '..'), { recursive: true });
      writeFileSync(join(upper, path), '');
    }
    writeLayout(layout, [lower, upper]);
    expect(await image('import', 'oci', layout, '--arch', 'amd64')).toMatchObject({ status: 0, stderr: '' });
    const script = 'busybox find /data /gone; echo $FROM_IMAGE';
    const { stdout } = await image('run', 'oci', '--', 'sh', '-c', script);
    expect(stdout.trim().split('\n').toSorted()).toEqual(['/data', '/data/new', '/data/sub', '/data/sub/other', 'yes']);
    expect((await image('import', 'oci', layout, '--arch', 's390x')).stderr).toContain(
      'no part for s390x; --arch takes another',
    );
    const packed = join(scratch, 'oci.tar');
    tar('-cf', packed, '-C', layout, '.');
    expect((await image('import', 'packed', packed, '--arch', 'amd64')).status).toBe(0);
    const [layer = ''] = readdirSync(join(layout, 'blobs/sha256')).filter(
      (name) => statSync(join(layout, 'blobs/sha256', name)).size > 2000,
    );
    writeFileSync(join(layout, 'blobs/sha256', layer), 'x', { flag: 'a' });
    expect((await image('import', 'oci', layout, '--arch', 'amd64')).stderr).toContain('is damaged: the blob sha256:');
  });
});

describe.skipIf(!canRun)('provision', () => {
  it('makes accounts, keys, sshd and banners, and again changes nothing', async () => {
    const root = makeRoot(join(scratch, 'provisioned'));
    mkdirSync(join(root, 'etc/ssh'));
    writeFileSync(join(root, 'etc/ssh/sshd_config'), 'UsePAM yes\n');
    const key = join(scratch, 'key.pub');
    writeFileSync(key, 'ssh-ed25519 AAAA test\n');
    const config = join(scratch, 'config.json');
    writeFileSync(config, JSON.stringify({ users: [{ name: 'abuild', uid: 399, gid: 399 }], acceptEnv: ['*'] }));
    const again = async (): Promise<Ended> =>
      await image(
        'provision',
        root,
        '--config',
        config,
        '--authorized-keys',
        key,
        '--issue-banner',
        '--hostname',
        'box',
      );
    expect((await again()).status).toBe(0);
    const read = (path: string): string => readFileSync(join(root, path), 'utf8');
    expect(read('etc/passwd')).toContain('abuild:x:399:399::/home/abuild:/bin/sh\n');
    expect(read('etc/shadow')).toMatch(/^abuild:!:\d+:0:99999:7:::$/m);
    expect(read('etc/ssh/sshd_config')).toBe('UsePAM yes\nAcceptEnv *\n');
    expect(read('etc/hostname')).toBe('box\n');
    const keys = statSync(join(root, 'home/abuild/.ssh/authorized_keys'));
    expect({ mode: keys.mode & 0o777, uid: keys.uid }).toEqual({ mode: 0o600, uid: 399 });
    const before = [
      'etc/passwd',
      'etc/shadow',
      'etc/group',
      'etc/issue',
      'etc/hosts',
      'home/abuild/.ssh/authorized_keys',
    ].map(read);
    expect((await again()).status).toBe(0);
    expect(
      ['etc/passwd', 'etc/shadow', 'etc/group', 'etc/issue', 'etc/hosts', 'home/abuild/.ssh/authorized_keys'].map(read),
    ).toEqual(before);
  });

  it('writes nothing outside, wherever links of the root lead', async () => {
    const root = makeRoot(join(scratch, 'trap'));
    const outside = join(scratch, 'prey');
    mkdirSync(outside);
    writeFileSync(join(outside, 'sshd_config'), '');
    symlinkSync(outside, join(root, 'etc/ssh'));
    symlinkSync(join(outside, 'hostname'), join(root, 'etc/hostname'));
    symlinkSync('../../../../../../../..' + outside, join(root, 'home/abuild'));
    await image('provision', root, '--user', 'abuild:399', '--hostname', 'x', '--accept-env', '*', '--sudo', 'abuild');
    expect(readdirSync(outside)).toEqual(['sshd_config']);
    expect(readFileSync(join(outside, 'sshd_config'), 'utf8')).toBe('');
    expect(readFileSync(join(root, outside, 'hostname'), 'utf8')).toBe('x\n');
  });

  it('makes another image of an image', async () => {
    expect((await image('provision', 'busybox:test', '--save', 'farm', '--user', 'abuild:399:399')).status).toBe(0);
    expect((await image('run', 'farm', '--', 'id', 'abuild')).stdout).toContain('uid=399(abuild) gid=399(abuild)');
    expect((await image('run', 'busybox:test', '--', 'id', 'abuild')).status).toBe(1);
  });

  it('says what of a configuration is not known', async () => {
    const config = join(scratch, 'wrong.json');
    writeFileSync(config, '{"user": []}');
    expect(await image('provision', scratch, '--config', config)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("has a field 'user' that is not known"),
    });
    expect((await image('provision', scratch, '--user', 'abuild')).stderr).toContain('--user takes NAME:UID');
  });
});

describe.skipIf(!canRun || !canBuild)('build', () => {
  it('builds anew when the mirror has changed, and not before', async () => {
    const mirror = join(scratch, 'mirror');
    writeMirror(mirror, '1');
    const build = async (...more: string[]): Promise<{ key: string; isCached: boolean }> => {
      const ended = await image(
        'build',
        'debian:bookworm',
        '--arch',
        'amd64',
        '--variant',
        'extract',
        '--packages',
        'tiny',
        '--mirror',
        `file://${mirror}`,
        '--insecure',
        '--json',
        ...more,
      );
      expect(ended).toMatchObject({ status: 0 });
      return JSON.parse(ended.stdout);
    };
    const first = await build();
    expect(first.isCached).toBe(false);
    expect(await build()).toMatchObject({ key: first.key, isCached: true });
    writeMirror(mirror, '2');
    const second = await build();
    expect(second.isCached).toBe(false);
    expect(second.key).not.toBe(first.key);
    rmSync(mirror, { recursive: true });
    expect(await build()).toMatchObject({ key: second.key, isCached: true });
    const failing = await image(
      'build',
      'debian:bookworm',
      '--arch',
      'amd64',
      '--variant',
      'extract',
      '--packages',
      'tiny',
      '--mirror',
      `file://${mirror}`,
      '--insecure',
      '--refresh',
    );
    expect(failing).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/mmdebstrap ended with status \d+: E: /),
    });
    expect(storeFolders().filter((name) => name.startsWith('.work-'))).toEqual([]);
  });

  it('that is killed leaves nothing, and another builder is told to wait', async () => {
    const mirror = join(scratch, 'slow');
    writeMirror(mirror, '3');
    const args = [
      'debian:bookworm',
      '--arch',
      'amd64',
      '--variant',
      'extract',
      '--packages',
      'tiny',
      '--mirror',
      `file://${mirror}`,
      '--insecure',
    ];
    await using session = await startNestling(['image', 'build', ...args], env);
    await session.stderr.until(/running apt-get update/);
    // It has the lock for as long as it is there.
    session.process.kill('SIGSTOP');
    expect((await image('build', ...args)).stderr).toMatch(/is being made by process \d+; wait for it/);
    session.process.kill('SIGKILL');
    await session.ended;
    expect((await image('build', ...args)).status).toBe(0);
    expect(storeFolders().filter((name) => name.startsWith('.work-'))).toEqual([]);
  });

  it('builds a real Debian of the mirror that apt uses', { timeout: 300_000 }, async () => {
    const sources = spawnSync(
      'apt-get',
      ['indextargets', '--format', '$(REPO_URI)', 'Codename: bookworm', 'Label: Debian'],
      { encoding: 'utf8' },
    );
    const mirror =
      sources.stdout
        .split('\n')
        .find((line) => line !== '')
        ?.replace(/\/$/, '') ?? 'http://deb.debian.org/debian';
    const answer = await fetch(`${mirror}/dists/bookworm/InRelease`, { signal: AbortSignal.timeout(5000) }).catch(
      () => undefined,
    );
    if (answer?.ok !== true) {
      process.stderr.write(`SKIPPED: the mirror does not answer: no Debian is built\n`);
      return;
    }
    const ended = await image(
      'build',
      'debian:bookworm',
      '--variant',
      'essential',
      '--packages',
      'passwd',
      '--mirror',
      mirror,
    );
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stderr).toContain('debian:bookworm by mmdebstrap: ');
    const { stdout } = await image(
      'run',
      'debian:bookworm',
      '--',
      'sh',
      '-c',
      '. /etc/os-release; echo $VERSION_CODENAME',
    );
    expect(stdout).toBe('bookworm\n');
    // By its own useradd and by our editing: the same.
    const texts = await Promise.all(
      ['tools', 'edited'].map(async (name) => {
        const root = join(scratch, name);
        await image('unpack', 'debian:bookworm', root);
        const wish = ['--user', 'bob:1500:1500:games', '--group', 'farm:777', '--user', 'eve:1501:777', '--no-home'];
        const provisioned = await image('provision', root, ...wish, ...(name === 'edited' ? ['--edit-only'] : []));
        expect(provisioned).toMatchObject({ status: 0 });
        expect(provisioned.stderr).not.toContain('editing the files instead');
        return ['passwd', 'shadow', 'group', 'gshadow'].map((file) => readFileSync(join(root, 'etc', file), 'utf8'));
      }),
    );
    expect(texts[0]?.[0]).toContain('eve:x:1501:777::/home/eve:');
    expect(texts[0]).toEqual(texts[1]);
  });
});

/** One index for two architectures, layers as plain tarballs. */
function writeLayout(layout: string, layers: readonly string[]): void {
  const blobs = join(layout, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const add = (bytes: Buffer, mediaType: string): { mediaType: string; digest: string; size: number } => {
    const hash = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hash), bytes);
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length };
  };
  const addJson = (value: unknown, mediaType: string): ReturnType<typeof add> =>
    add(Buffer.from(JSON.stringify(value)), mediaType);
  const packed = layers.map((folder, index) => {
    const file = join(scratch, `layer${index}.tar`);
    tar('-cf', file, '-C', folder, '.');
    return add(readFileSync(file), 'application/vnd.oci.image.layer.v1.tar');
  });
  const config = addJson(
    { architecture: 'amd64', os: 'linux', config: { Env: ['FROM_IMAGE=yes'] } },
    'application/vnd.oci.image.config.v1+json',
  );
  const manifest = addJson({ schemaVersion: 2, config, layers: packed }, 'application/vnd.oci.image.manifest.v1+json');
  const other = addJson({ schemaVersion: 2, config, layers: [] }, 'application/vnd.oci.image.manifest.v1+json');
  const index = {
    schemaVersion: 2,
    manifests: [
      { ...other, platform: { os: 'linux', architecture: 'arm64' } },
      { ...manifest, platform: { os: 'linux', architecture: 'amd64' } },
    ],
  };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

/** A repository of one package, unsigned. */
function writeMirror(mirror: string, version: string): void {
  const source = join(scratch, `tiny-${version}`);
  mkdirSync(join(source, 'DEBIAN'), { recursive: true });
  writeFileSync(
    join(source, 'DEBIAN/control'),
    `Package: tiny\nVersion: ${version}\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n`,
  );
  writeFileSync(join(source, 'tiny'), version);
  const suite = join(mirror, 'dists/bookworm');
  mkdirSync(join(suite, 'main/binary-amd64'), { recursive: true });
  spawnSync('dpkg-deb', ['--build', '--root-owner-group', source, join(mirror, 'tiny.deb')]);
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
  const deb = readFileSync(join(mirror, 'tiny.deb'));
  const packages = Buffer.from(
    `${readFileSync(join(source, 'DEBIAN/control'), 'utf8')}Filename: tiny.deb\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n\n`,
  );
  writeFileSync(join(suite, 'main/binary-amd64/Packages'), packages);
  writeFileSync(
    join(suite, 'Release'),
    `Suite: bookworm\nCodename: bookworm\nArchitectures: amd64\nComponents: main\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n ${sha256(packages)} ${packages.length} main/binary-amd64/Packages\n`,
  );
}

/** A static program that writes and ends: 8 instructions. */
function arm64Program(text: string, status: number): Buffer {
  const code = Buffer.alloc(32);
  const move = (register: number, value: number): number => (0xd2800000 | (value << 5) | register) >>> 0;
  const words = [
    move(0, 1),
    0x100000e1,
    move(2, text.length),
    move(8, 64),
    0xd4000001,
    move(0, status),
    move(8, 93),
    0xd4000001,
  ];
  for (const [index, word] of words.entries()) code.writeUInt32LE(word, index * 4);
  const header = Buffer.alloc(120);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(183, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(0x400078n, 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  const size = BigInt(120 + 32 + text.length);
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(5, 68);
  header.writeBigUInt64LE(0x400000n, 80);
  header.writeBigUInt64LE(0x400000n, 88);
  header.writeBigUInt64LE(size, 96);
  header.writeBigUInt64LE(size, 104);
  header.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([header, code, Buffer.from(text)]);
}
