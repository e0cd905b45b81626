/**
 * `nestling image build` on mirrors that the tests make: when it builds and when not, what is signed and what is not, releases that nobody updates any
 * more, builders that are killed. One test builds a real Debian where a mirror answers.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { makeSigningKey, type SigningKey, serveMirror, writeMirror } from '../support/debian-mirror.ts';
import { type Ended, shell, startNestling } from './cli-session.ts';
import { canRunImages, type ImageSession, openImages } from './image-session.ts';

const missing = ['mmdebstrap', 'dpkg-deb', 'gpg', 'gpgv'].filter((name) => lookUpProgram(name) === undefined);
if (missing.length > 0) process.stderr.write(`SKIPPED: building needs ${missing.join(', ')}\n`);

/** A user that no host has. */
const KEEPER = 4_242_424;
const hasIdRanges = lookUpProgram('newuidmap') !== undefined && existsSync('/etc/subuid') && existsSync('/etc/subgid');
if (!hasIdRanges) process.stderr.write('SKIPPED: building without root needs newuidmap, /etc/subuid and /etc/subgid\n');

describe.skipIf(!canRunImages() || missing.length > 0)('building', () => {
  let images: ImageSession;
  let key: SigningKey;
  beforeAll(async () => {
    images = await openImages();
    key = makeSigningKey(images.folder);
  });
  afterAll(() => {
    key[Symbol.dispose]();
    images[Symbol.dispose]();
  });

  /** Arguments for the one package of a mirror. */
  const tiny = (mirror: string, ...more: readonly string[]): string[] => [
    '--arch=amd64',
    '--variant=extract',
    '--packages=tiny',
    `--mirror=${mirror}`,
    ...more,
  ];

  it('is done anew when the mirror has changed, and not before', async () => {
    const mirror = join(images.folder, 'mirror');
    writeMirror(mirror, { version: '1' });
    const build = async (...more: string[]): Promise<{ key: string; isCached: boolean }> => {
      const ended = await images.image(
        'build',
        'debian:bookworm',
        ...tiny(`file://${mirror}`, '--insecure', '--json', ...more),
      );
      expect(ended).toMatchObject({ status: 0 });
      return JSON.parse(ended.stdout);
    };
    const first = await build();
    expect(first.isCached).toBe(false);
    expect(await build()).toMatchObject({ key: first.key, isCached: true });
    writeMirror(mirror, { version: '2' });
    const second = await build();
    expect(second.isCached).toBe(false);
    expect(second.key).not.toBe(first.key);
    rmSync(mirror, { recursive: true });
    expect(await build()).toMatchObject({ key: second.key, isCached: true });
    const failing = await images.image(
      'build',
      'debian:bookworm',
      ...tiny(`file://${mirror}`, '--insecure', '--refresh'),
    );
    expect(failing).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/mmdebstrap ended with status \d+: E: /),
    });
    expect(images.leftovers()).toEqual([]);
  });

  it('takes what the right key has signed, from a server, and nothing else', async () => {
    const folder = join(images.folder, 'signed');
    writeMirror(folder, { version: '4', key });
    await using mirror = await serveMirror(folder);
    using stranger = makeSigningKey(images.folder);
    const build = async (...more: string[]) =>
      await images.image('build', 'debian:bookworm', ...tiny(mirror.url, '--no-cache', ...more));
    expect(await build('--keyring', key.keyring)).toMatchObject({ status: 0 });
    expect(mirror.asked).toContain('/tiny.deb');
    const wrong = await build('--keyring', stranger.keyring);
    expect(wrong.status).toBe(1);
    expect(wrong.stderr).toMatch(/the keys of this host do not match what signed it: name others with --keyring FILE/);
    // Somebody on the way puts a package of his own there: the index says otherwise.
    writeMirror(folder, { version: '5' });
    const unsigned = await build('--keyring', key.keyring);
    expect(unsigned).toMatchObject({ status: 1, stderr: expect.stringMatching(/not signed/) });
    expect(images.leftovers()).toEqual([]);
  });

  it('takes releases of long ago from archives, whose files have expired, and no others', async () => {
    const folder = join(images.folder, 'old');
    for (const suite of ['bookworm', 'stretch']) writeMirror(folder, { version: '6', suite, ageYears: 8, key });
    await using mirror = await serveMirror(folder);
    const build = async (name: string, ...more: string[]) =>
      await images.image('build', name, ...tiny(mirror.url, '--keyring', key.keyring, ...more));
    const expired = await build('debian:bookworm');
    expect(expired).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/is expired.*--archive takes it as it was/),
    });
    expect(await build('debian:bookworm', '--archive')).toMatchObject({ status: 0 });
    // This one is known to be old.
    const old = await build('debian:stretch');
    expect(old).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('debian:stretch is archived: nobody updates it'),
    });
    // An old date is no excuse for a missing signature.
    writeMirror(folder, { version: '7', suite: 'stretch', ageYears: 8 });
    expect((await build('debian:stretch', '--no-cache')).status).toBe(1);
  });

  it.skipIf(!hasIdRanges)('needs no root where a user has ids of its own', async () => {
    const [folder, home] = [join(images.folder, 'ordinary'), join(images.folder, 'keeper')];
    writeMirror(folder, { version: '8', key });
    await using mirror = await serveMirror(folder);
    for (const path of [home, join(home, 'run')]) {
      mkdirSync(path, { mode: 0o700 });
      chownSync(path, KEEPER, KEEPER);
    }
    // The other ids have to read the keys, and the user the command.
    for (const path of [tmpdir(), images.folder, join(key.keyring, '..')]) chmodSync(path, 0o755);
    const users = `${readFileSync('/etc/passwd', 'utf8')}keeper:x:${KEEPER}:${KEEPER}::${home}:/bin/sh\n`;
    writeFileSync(join(images.folder, 'passwd'), users);
    const build = async (ranges: string): Promise<Ended> => {
      writeFileSync(join(images.folder, 'ranges'), ranges);
      const args = ['debian:bookworm', ...tiny(mirror.url, `--keyring=${key.keyring}`)].join(' ');
      await using session = await shell(`unshare --mount --propagation private bash -e <<END
$(declare -f nestling)
mount --bind ${images.folder}/passwd /etc/passwd
for file in subuid subgid; do mount --bind ${images.folder}/ranges /etc/\\$file; done
export -f nestling
export HOME=${home} XDG_RUNTIME_DIR=${home}/run TMPDIR=/tmp
cd /
setpriv --reuid ${KEEPER} --regid ${KEEPER} --clear-groups bash -c 'nestling image build ${args}'
END`);
      return await session.ended;
    };
    const refused = await build('');
    expect(refused.stderr).toMatch(/needs root: .*or give this user ids of its own .*--add-subgids \S+ keeper\n/);
    expect(await build('keeper:3000000:65536\n')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^debian:bookworm amd64 [0-9a-f]{12}\n$/),
    });
    expect(readdirSync(join(home, '.cache/nestling/images')).filter((name) => name.startsWith('.work-'))).toEqual([]);
  });

  it('that is killed leaves nothing, and another builder is told to wait', async () => {
    const mirror = join(images.folder, 'slow');
    writeMirror(mirror, { version: '3' });
    const args = ['debian:bookworm', ...tiny(`file://${mirror}`, '--insecure')];
    await using session = await startNestling(['image', 'build', ...args], images.env);
    await session.stderr.until(/running apt-get update/);
    // It has the lock for as long as it is there.
    session.process.kill('SIGSTOP');
    expect((await images.image('build', ...args)).stderr).toMatch(/is being made by process \d+; wait for it/);
    session.process.kill('SIGKILL');
    await session.ended;
    expect((await images.image('build', ...args)).status).toBe(0);
    expect(images.leftovers()).toEqual([]);
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
    const ended = await images.image(
      'build',
      'debian:bookworm',
      '--variant',
      'essential',
      '--packages',
      'passwd,openssh-server,sudo',
      '--mirror',
      mirror,
    );
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stderr).toContain('debian:bookworm by mmdebstrap: ');
    const { stdout } = await images.image(
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
        const root = join(images.folder, name);
        await images.image('unpack', 'debian:bookworm', root);
        const wish = ['--user', 'bob:1500:1500:games', '--group', 'farm:777', '--user', 'eve:1501:777', '--no-home'];
        const keys = join(images.folder, 'keys.pub');
        writeFileSync(keys, 'ssh-ed25519 AAAA keeper\n');
        wish.push('--accept-env', 'CI,BUILD_*', '--sudo', 'bob', '--issue-banner', '--authorized-keys', keys);
        const provisioned = await images.image(
          'provision',
          root,
          ...wish,
          ...(name === 'edited' ? ['--edit-only'] : []),
        );
        expect(provisioned).toMatchObject({ status: 0 });
        expect(provisioned.stderr).toBe('');
        return ['passwd', 'shadow', 'group', 'gshadow'].map((file) => readFileSync(join(root, 'etc', file), 'utf8'));
      }),
    );
    expect(texts[0]?.[0]).toContain('eve:x:1501:777::/home/eve:');
    expect(texts[0]).toEqual(texts[1]);
    // What was asked for is what its own programs understand.
    const inside = async (line: string): Promise<string> =>
      (await images.image('run', join(images.folder, 'tools'), '--', 'sh', '-c', line)).stdout;
    expect(await inside('mkdir -p /run/sshd; sshd -T | grep acceptenv')).toMatch(/acceptenv CI\nacceptenv BUILD_\*\n/);
    expect(await inside('su bob -c "sudo -n id -u"; visudo -c >&2')).toBe('0\n');
    expect(await inside('cat /etc/issue')).toMatch(/Current IP\(s\): \\4\{eth0\}/);
    expect(await inside('test -e /etc/hostname || echo none')).toBe('none\n');
  });
});
