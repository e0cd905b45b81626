/** `nestling image unpack`: roots made of images, in folders, overlays, memory and clones. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { shell } from './cli-session.ts';
import { canRunImages, type ImageSession, openImages } from './image-session.ts';

const hasBtrfs =
  lookUpProgram('mkfs.btrfs') !== undefined && /\tbtrfs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
if (!hasBtrfs) process.stderr.write("SKIPPED: clones on btrfs need btrfs-progs and the kernel's btrfs\\n");

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
          expect((await images.image('rm', 'busybox:test')).stderr).toContain(
            `${target}.upper is what was changed of it`,
          );
        }
      } finally {
        spawnSync('umount', [target]);
      }
      if (kind !== 'overlay') continue;
      // A host that was restarted has nothing mounted yet.
      expect((await images.image('rm', 'busybox:test')).stderr).toContain(`${target}.upper is what was changed of it`);
      rmSync(`${target}.upper`, { recursive: true });
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

  it.skipIf(!hasBtrfs)('as clones of one base on btrfs, which is whole or not there', async () => {
    const [disk, pool] = [join(images.folder, 'btrfs.img'), join(images.folder, 'pool')];
    mkdirSync(pool);
    const { key } = JSON.parse((await images.image('list', '--json')).stdout)[0];
    const base = `${pool}/.nestling-base-${key}`;
    // All in a mount namespace that goes with the shell.
    const script = `unshare --mount --propagation private bash -e <<END
$(declare -f nestling)
truncate -s 256M ${disk}
mkfs.btrfs -q ${disk}
mount -o loop ${disk} ${pool}
# What one has left that was killed over the base.
btrfs -q subvolume create ${base}.part
mkdir ${base}.part/etc
for name in one two; do nestling image unpack busybox:test ${pool}/\\$name --as btrfs; done
echo changed >${pool}/one/etc/group
cat ${pool}/two/etc/group
btrfs subvolume list -o ${pool} | wc -l
ls -A ${pool}
END`;
    await using session = await shell(`export NESTLING_CACHE_DIR=${images.env['NESTLING_CACHE_DIR']}; ${script}`);
    const { status, stdout, stderr } = await session.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`root:x:0:\n3\n.nestling-base-${key}\none\ntwo\n`);
  });
});
