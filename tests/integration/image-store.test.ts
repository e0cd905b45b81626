/** `nestling image list`, `rm`, `import` and `export`: tarballs, OCI images, and archives that mean harm. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TarEntry, writeTar } from '../support/tar-writer.ts';
import { canRunImages, type ImageSession, makeRoot, openImages, tar } from './image-session.ts';

describe.skipIf(!canRunImages())('images in the store', () => {
  let images: ImageSession;
  beforeAll(async () => {
    images = await openImages();
  });
  afterAll(() => images[Symbol.dispose]());

  it('lists what was imported, and knows it by name and key', async () => {
    const { stdout } = await images.image('list', '--json');
    const listed: { name: string; key: string; arch: string }[] = JSON.parse(stdout);
    expect(listed).toEqual([expect.objectContaining({ name: 'busybox:test', origin: 'imported from busybox.tar.gz' })]);
    expect((await images.image('run', listed[0]?.key.slice(0, 12) ?? '', '--', 'cat', '/etc/group')).stdout).toBe(
      'root:x:0:\n',
    );
    expect((await images.image('list')).stdout).toMatch(
      /^NAME +ARCH +SIZE +MADE +KEY\nbusybox:test +\w+ +[\d.]+ [KM]iB /,
    );
  });

  it('removes and exports', async () => {
    const copy = join(images.folder, 'copy.tar.gz');
    expect((await images.image('export', 'busybox:test', copy)).status).toBe(0);
    expect(readFileSync(copy).equals(readFileSync(images.tarball))).toBe(true);
    // The same content under another name is another image.
    await images.image('import', 'other', copy, '--arch', 'riscv64');
    expect((await images.image('list')).stdout).toMatch(/^other +riscv64 [^]*^busybox:test /m);
    expect((await images.image('rm', 'other')).stdout).toMatch(/^other riscv64 [0-9a-f]{12} removed\n$/);
    // Of two of the same name the newer one stays, and what has no other.
    const changed = ['run', '--save', 'other', 'busybox:test', '--', 'touch'];
    const saves = [await images.image(...changed, '/root/a'), await images.image(...changed, '/root/b')];
    expect(saves.map(({ status }) => status)).toEqual([0, 0]);
    expect((await images.image('rm', '--old')).stdout).toMatch(/^other \w+ [0-9a-f]{12} removed\n$/);
    expect((await images.image('run', 'other', '--', 'ls', '/root')).stdout).toBe('b\n');
    const missing = await images.image('rm', 'nothing');
    expect(missing).toMatchObject({ status: 1 });
    expect(missing.stderr).toContain("there is no image 'nothing'; 'nestling image build' makes one");
    // What is a folder for one command is no image for another.
    expect((await images.image('run', 'tests', '--', 'true')).stderr).toContain(
      "no image 'tests'; if the folder is meant, write ./tests",
    );
  });

  it('refuses archives that lead out, and what is none', async () => {
    const evil = join(images.folder, 'evil.tar');
    writeFileSync(join(images.folder, 'payload'), 'x');
    tar('-cPf', evil, '-C', images.folder, '--transform', 's,payload,../../escaped,', 'payload');
    expect((await images.image('import', 'evil', evil)).stderr).toContain(
      "its entry '../../escaped' leads out of the root",
    );
    expect((await images.image('import', 'none', '/bin/busybox')).stderr).toMatch(/busybox is no tarball/);
    expect((await images.image('import', 'No Name', images.tarball)).status).toBe(2);
  });

  it.each(['gz', 'xz', 'zst', 'bz2', ''])('come from tarballs, packed as .%s', async (suffix) => {
    const file = join(images.folder, `packed.tar${suffix === '' ? '' : `.${suffix}`}`);
    tar('-caf', file, '-C', join(images.folder, 'made'), '.');
    expect(await images.image('import', 'packed', file)).toMatchObject({ status: 0, stderr: '' });
    expect((await images.image('run', 'packed', '--', 'cat', '/etc/group')).stdout).toBe('root:x:0:\n');
  });

  it('reach nothing outside, whatever their entries say', async () => {
    const outside = join(images.folder, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'secret'), 'secret');
    const up = '../'.repeat(12);
    const hostile: TarEntry[][] = [
      [{ name: 'stolen', kind: 'hard-link', target: join(outside, 'secret') }],
      [{ name: 'stolen', kind: 'hard-link', target: `${up}${outside}/secret` }],
      [
        { name: 'a', kind: 'symlink', target: outside },
        { name: 'a/made', text: 'x' },
      ],
      [
        { name: 'a', kind: 'symlink', target: `${up}${outside}` },
        { name: 'a/made', text: 'x' },
      ],
      [
        { name: 'a', kind: 'symlink', target: outside },
        { name: 'b', kind: 'hard-link', target: 'a/secret' },
      ],
      [
        { name: 'd', kind: 'directory' },
        { name: 'd', kind: 'symlink', target: outside },
        { name: 'd/made', text: 'x' },
      ],
      [
        { name: 'f', kind: 'symlink', target: join(outside, 'secret') },
        { name: 'f', text: 'overwritten' },
      ],
    ];
    for (const [index, entries] of hostile.entries()) {
      const file = join(images.folder, `hostile${index}.tar`);
      writeFileSync(file, writeTar(entries));
      const target = join(images.folder, `hostile${index}`);
      // Refused at one place or the other, or harmless.
      if ((await images.image('import', 'hostile', file)).status === 0) await images.image('unpack', 'hostile', target);
      expect(readdirSync(outside)).toEqual(['secret']);
      expect(statSync(join(outside, 'secret'))).toMatchObject({ nlink: 1, size: 6 });
      expect(existsSync(join(target, 'stolen'))).toBe(false);
    }
  });

  it('have the last of entries of the same name, and a file of many holes takes no room', async () => {
    const file = join(images.folder, 'odd.tar');
    const holes = 1024 ** 4;
    const entries: TarEntry[] = [
      { name: 'twice', text: 'first' },
      { name: 'twice', text: 'second' },
      { name: 'holes', kind: 'sparse', size: holes },
      { name: 'zero', kind: 'character', major: 1, minor: 5 },
    ];
    writeFileSync(file, writeTar(entries));
    const target = join(images.folder, 'odd');
    expect(await images.image('import', 'odd', file)).toMatchObject({ status: 0, stderr: '' });
    expect(await images.image('unpack', 'odd', target)).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(target, 'twice'), 'utf8')).toBe('second');
    expect(statSync(join(target, 'holes'))).toMatchObject({ size: holes, blocks: 0 });
    // Packed again they are still holes: this would take hours otherwise.
    const odd = join(images.folder, 'odd-layout');
    writeLayout(odd, [target]);
    expect(await images.image('import', 'odd', odd, '--arch', 'amd64')).toMatchObject({ status: 0, stderr: '' });
    writeFileSync(file, writeTar([{ name: 'huge', size: holes }]));
    expect(await images.image('import', 'huge', file)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/odd\.tar is no tarball: /),
    });
  });

  it('come from what older versions of docker save', async () => {
    const folder = join(images.folder, 'docker');
    const roots = ['docker-lower', 'docker-upper'].map((name) => join(images.folder, name));
    makeRoot(roots[0] ?? '');
    mkdirSync(join(roots[1] ?? '', 'etc'), { recursive: true });
    writeFileSync(join(roots[1] ?? '', 'etc/.wh.group'), '');
    writeDockerArchive(folder, roots);
    const packed = join(images.folder, 'docker.tar');
    tar('-cf', packed, '-C', folder, '.');
    expect(await images.image('import', 'docker', packed, '--arch', 'amd64')).toMatchObject({ status: 0, stderr: '' });
    const { stdout } = await images.image('run', 'docker', '--', 'sh', '-c', 'ls /etc; echo $FROM_IMAGE');
    expect(stdout).toBe('hosts\npasswd\nresolv.conf\nshadow\nyes\n');
    expect((await images.image('import', 'docker', packed, '--arch', 's390x')).stderr).toContain(
      "the archive's image is for amd64, not s390x; import it with --arch amd64",
    );
    writeFileSync(join(folder, 'layer0/layer.tar'), 'x', { flag: 'a' });
    expect((await images.image('import', 'docker', folder, '--arch', 'amd64')).stderr).toContain(
      'the archive is damaged: layer 1 is sha256:',
    );
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify([{ Config: '../../../../etc/passwd', Layers: [] }]));
    expect((await images.image('import', 'docker', folder)).stderr).toContain(
      "lacks its file '../../../../etc/passwd'",
    );
  });

  it('are put together of their layers: what a layer removes is gone, what it hides is hidden', async () => {
    const layout = join(images.folder, 'oci');
    const lower = makeRoot(join(images.folder, 'lower'));
    for (const path of ['data/old', 'data/sub/deep', 'gone']) {
      mkdirSync(join(lower, path, '..'), { recursive: true });
      writeFileSync(join(lower, path), '');
    }
    const upper = join(images.folder, 'upper');
    for (const path of ['data/.wh..wh..opq', 'data/new', 'data/sub/other', '.wh.gone']) {
      mkdirSync(join(upper, path, '..'), { recursive: true });
      writeFileSync(join(upper, path), '');
    }
    writeLayout(layout, [lower, upper]);
    expect(await images.image('import', 'oci', layout, '--arch', 'amd64')).toMatchObject({ status: 0, stderr: '' });
    const script = 'busybox find /data /gone; echo $FROM_IMAGE';
    const { stdout } = await images.image('run', 'oci', '--', 'sh', '-c', script);
    expect(stdout.trim().split('\n').toSorted()).toEqual(['/data', '/data/new', '/data/sub', '/data/sub/other', 'yes']);
    expect((await images.image('import', 'oci', layout, '--arch', 's390x')).stderr).toContain(
      'no part for s390x; --arch takes another',
    );
    const packed = join(images.folder, 'oci.tar');
    tar('-cf', packed, '-C', layout, '.');
    expect((await images.image('import', 'packed', packed, '--arch', 'amd64')).status).toBe(0);
    const [layer = ''] = readdirSync(join(layout, 'blobs/sha256')).filter(
      (name) => statSync(join(layout, 'blobs/sha256', name)).size > 2000,
    );
    writeFileSync(join(layout, 'blobs/sha256', layer), 'x', { flag: 'a' });
    expect((await images.image('import', 'oci', layout, '--arch', 'amd64')).stderr).toContain(
      'is damaged: the blob sha256:',
    );
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
    const file = `${layout}.layer${index}.tar`;
    tar('--sparse', '-cf', file, '-C', folder, '.');
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

/** As before docker 25: a folder for each layer; layers that are the same are links. */
function writeDockerArchive(folder: string, layers: readonly string[]): void {
  mkdirSync(folder);
  const digests = layers.map((layer, index) => {
    const path = join(folder, `layer${index}`, 'layer.tar');
    mkdirSync(join(path, '..'));
    tar('-cf', path, '-C', layer, '.');
    return `sha256:${createHash('sha256').update(readFileSync(path)).digest('hex')}`;
  });
  mkdirSync(join(folder, 'again'));
  symlinkSync('../layer1/layer.tar', join(folder, 'again/layer.tar'));
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Env: ['FROM_IMAGE=yes'] },
    rootfs: { type: 'layers', diff_ids: [...digests, digests.at(-1)] },
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const names = ['layer0/layer.tar', 'layer1/layer.tar', 'again/layer.tar'];
  writeFileSync(
    join(folder, 'manifest.json'),
    JSON.stringify([{ Config: 'config.json', RepoTags: ['test:latest'], Layers: names }]),
  );
}
