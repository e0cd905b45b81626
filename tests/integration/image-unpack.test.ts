/** `nestling image unpack`: roots made of images, in folders, overlays, memory and clones. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canRunImages, type ImageSession, openImages } from './image-session.ts';

describe.skipIf(!canRunImages())('a root made of an image', () => {
  let images: ImageSession;
  beforeAll(async () => {
    images = await openImages();
  });
  afterAll(() => images[Symbol.dispose]());

  it('to a directory, with owners and modes', async () => {
    const target = join(images.folder, 'plain');
    expect((await images.image('unpack', 'busybox:test', target)).status).toBe(0);
    expect(statSync(join(target, 'etc/shadow')).mode & 0o777).toBe(0o600);
    expect((await images.image('unpack', 'busybox:test', target)).stderr).toContain('is not empty');
  });

  it('with shifted owners', async () => {
    const target = join(images.folder, 'shifted');
    expect(await images.image('unpack', 'busybox:test', target, '--idmap', '100000:65536')).toMatchObject({
      status: 0,
      stderr: '',
    });
    expect(statSync(join(target, 'etc/passwd')).uid).toBe(100_000);
    expect(lstatSync(join(target, 'bin/sh')).gid).toBe(100_000);
  });

  it('as an overlay and in memory, which are in use until they are unmounted', async () => {
    for (const kind of ['overlay', 'tmpfs']) {
      const target = join(images.folder, kind);
      expect(await images.image('unpack', 'busybox:test', target, '--as', kind)).toMatchObject({
        status: 0,
        stderr: '',
      });
      try {
        writeFileSync(join(target, 'root/x'), '');
        if (kind === 'overlay') {
          expect(existsSync(`${target}.upper/root/x`)).toBe(true);
          expect((await images.image('rm', 'busybox:test')).stderr).toContain(`${target} is mounted over it`);
        }
      } finally {
        spawnSync('umount', [target]);
      }
    }
  });

  it('says what it would do, and takes back what it has begun', async () => {
    const { stdout } = await images.image(
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
    const target = join(images.folder, 'failing');
    const failed = await images.image('unpack', 'busybox:test', target, '--as', 'tmpfs', '--size', '64K');
    expect(failed).toMatchObject({ status: 1, stderr: expect.stringMatching(/No space left|Wrote only/) });
    expect(existsSync(target)).toBe(false);
  });
});
