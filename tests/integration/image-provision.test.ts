/** `nestling image provision`: users, keys, sshd, banners in roots, harmless ones and hostile ones. */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ended } from './cli-session.ts';
import { canRunImages, type ImageSession, makeRoot, openImages } from './image-session.ts';

describe.skipIf(!canRunImages())('provisioning', () => {
  let images: ImageSession;
  beforeAll(async () => {
    images = await openImages();
  });
  afterAll(() => images[Symbol.dispose]());

  it('makes accounts, keys, sshd and banners, and again changes nothing', async () => {
    const root = makeRoot(join(images.folder, 'provisioned'));
    mkdirSync(join(root, 'etc/ssh'));
    writeFileSync(join(root, 'etc/ssh/sshd_config'), 'UsePAM yes\n');
    const key = join(images.folder, 'key.pub');
    writeFileSync(key, 'ssh-ed25519 AAAA test\n');
    const config = join(images.folder, 'config.json');
    writeFileSync(config, JSON.stringify({ users: [{ name: 'abuild', uid: 399, gid: 399 }], acceptEnv: ['*'] }));
    const again = async (): Promise<Ended> =>
      await images.image(
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
    const root = makeRoot(join(images.folder, 'trap'));
    const outside = join(images.folder, 'prey');
    mkdirSync(outside);
    writeFileSync(join(outside, 'sshd_config'), '');
    symlinkSync(outside, join(root, 'etc/ssh'));
    symlinkSync(join(outside, 'hostname'), join(root, 'etc/hostname'));
    symlinkSync('../../../../../../../..' + outside, join(root, 'home/abuild'));
    await images.image(
      'provision',
      root,
      '--user',
      'abuild:399',
      '--hostname',
      'x',
      '--accept-env',
      '*',
      '--sudo',
      'abuild',
    );
    expect(readdirSync(outside)).toEqual(['sshd_config']);
    expect(readFileSync(join(outside, 'sshd_config'), 'utf8')).toBe('');
    expect(readFileSync(join(root, outside, 'hostname'), 'utf8')).toBe('x\n');
  });

  it('makes another image of an image', async () => {
    expect((await images.image('provision', 'busybox:test', '--save', 'farm', '--user', 'abuild:399:399')).status).toBe(
      0,
    );
    expect((await images.image('run', 'farm', '--', 'id', 'abuild')).stdout).toContain(
      'uid=399(abuild) gid=399(abuild)',
    );
    expect((await images.image('run', 'busybox:test', '--', 'id', 'abuild')).status).toBe(1);
  });

  it('says what of a configuration is not known', async () => {
    const config = join(images.folder, 'wrong.json');
    writeFileSync(config, '{"user": []}');
    expect(await images.image('provision', images.folder, '--config', config)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("has a field 'user' that is not known"),
    });
    expect((await images.image('provision', images.folder, '--user', 'abuild')).stderr).toContain(
      '--user takes NAME:UID',
    );
  });
});
