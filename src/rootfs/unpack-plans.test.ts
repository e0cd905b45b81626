/** Unpacking, isolation and stores as data. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findArchitecture } from './architecture.ts';
import { readFreshness } from './freshness.ts';
import { ImageStore } from './image-store.ts';
import { isolationArgs, sameIds } from './isolated.ts';
import { readOciLayout } from './oci-layout.ts';
import { formatUnpackStep, planUnpack, type UnpackRequest } from './plan-unpack.ts';
import { overlayOptions } from './private-root.ts';
import { unpackArgs } from './tarballs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'rootfs-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const BASE = { tarball: '/s/KEY/root.tar.zst', key: 'KEY', tree: '/s/KEY/tree', target: '/srv/box' } as const;
const shellOf = (request: Partial<UnpackRequest> & Pick<UnpackRequest, 'kind'>): string[] =>
  planUnpack({ ...BASE, ...request }).map((step) => formatUnpackStep(step, BASE));

describe('plans of unpacking', () => {
  it('directory and tmpfs', () => {
    const unpack = "tar -xpf /s/KEY/root.tar.zst --numeric-owner --xattrs '--xattrs-include=*' -C /srv/box";
    expect(shellOf({ kind: 'directory' })).toEqual(['mkdir -p /srv/box', unpack]);
    expect(shellOf({ kind: 'tmpfs', size: '512M' })).toEqual([
      'mkdir -p /srv/box',
      'mount -t tmpfs -o mode=755,size=512M nestling /srv/box',
      unpack,
    ]);
  });

  it('overlay, with what is written beside it', () => {
    expect(shellOf({ kind: 'overlay' }).at(-1)).toBe(
      'mount -t overlay -o lowerdir=/s/KEY/tree,upperdir=/srv/box.upper,workdir=/srv/box.work overlay /srv/box',
    );
    expect(overlayOptions({ lower: ['/a:b', '/c,d\\e'] })).toBe('lowerdir=/a\\:b:/c\\,d\\\\e');
  });

  it('btrfs and zfs, whose base is made once for each image', () => {
    const tar = "tar -xpf /s/KEY/root.tar.zst --numeric-owner --xattrs '--xattrs-include=*' -C";
    const base = '/srv/.nestling-base-KEY';
    expect(shellOf({ kind: 'btrfs' })).toEqual([
      `test '!' -e ${base}.part || btrfs subvolume delete ${base}.part`,
      `test -e ${base} || btrfs subvolume create ${base}.part`,
      `test -e ${base} || ${tar} ${base}.part`,
      `test -e ${base} || mv ${base}.part ${base}`,
      `btrfs subvolume snapshot ${base} /srv/box`,
    ]);
    const zfs = shellOf({ kind: 'zfs', pool: 'tank/roots' });
    expect(zfs[0]).toMatch(/ \|\| zfs destroy -r tank\/roots\/nestling-base-KEY$/);
    // Of a base that is there already nothing is unpacked into the place of the clone.
    expect(zfs).toContain(`zfs list tank/roots/nestling-base-KEY@image || ${tar} /srv/box`);
    expect(zfs[1]).toBe(
      'zfs list tank/roots/nestling-base-KEY@image || zfs create -o mountpoint=legacy tank/roots/nestling-base-KEY',
    );
    expect(zfs.at(-1)).toBe('zfs clone -o mountpoint=/srv/box tank/roots/nestling-base-KEY@image tank/roots/box');
  });

  it.each([
    ['a pool is needed', { kind: 'zfs' }],
    ['a pool is needed', { kind: 'lvm' }],
    ['a size is a number', { kind: 'tmpfs', size: '1G,mode=777' }],
    ['a pool is a name', { kind: 'lvm', pool: '-x' }],
    ['the host stays', { kind: 'directory', target: '/' }],
  ] as const)('%s: %o', (_, request) => {
    expect(() => shellOf(request)).toThrow(expect.objectContaining({ code: 8 }));
  });

  it('keep everything of a root; devices only where they can be made', () => {
    expect(unpackArgs('/x.tar', '/d')).toEqual(
      expect.arrayContaining(['--numeric-owner', '--xattrs-include=*', '--same-owner', '--same-permissions']),
    );
    expect(unpackArgs('-', '.', { isShifted: true })).toContain('--exclude=./dev/*');
  });
});

describe('namespaces', () => {
  const spec = { command: 'x', args: [], stdio: ['ignore', 'ignore', 'ignore'] } as const;

  it('are those that are needed: a user namespace only with ids', () => {
    expect(isolationArgs(spec).slice(0, 4)).toEqual(['--mount', '--pid', '--fork', '--kill-child=KILL']);
    expect(isolationArgs({ ...spec, ids: 'same' }).slice(0, 4)).toEqual(['--mount', '--pid', '--user', '--fork']);
    expect(isolationArgs({ ...spec, ids: { base: 1, count: 1 } })).toContain('--keep-caps');
    const prepared = isolationArgs({ ...spec, ids: 'same', prepare: { script: 'true', args: ['a'] } });
    expect(prepared.slice(0, 5)).toEqual(['--mount', '--uts', '--pid', '--fork', '--kill-child=KILL']);
    expect(prepared.slice(prepared.indexOf('unshare'), prepared.indexOf('unshare') + 3)).toEqual([
      'unshare',
      '--mount',
      '--user',
    ]);
  });

  it('map the ids that this process has, not those of the host', () => {
    expect(sameIds('         0          0 4294967295\n')).toBe('0 0 4294967295\n');
    expect(sameIds('0 1000 1\n1 100000 65536\n')).toBe('0 0 1\n1 1 65536\n');
  });
});

describe('the store', () => {
  const store = new ImageStore({ dir: join(scratch, 'images'), ledgerDir: join(scratch, 'ledger') });
  const publish = async (key: string, name: string, arch: string): Promise<void> => {
    await using work = store.openWorkFolder();
    writeFileSync(join(work.path, 'root.tar'), key);
    await store.publish(work.path, { key, name, arch, tarball: 'root.tar', origin: 'test' });
  };
  const [one, two] = ['1'.repeat(32), '2'.repeat(32)];

  it('finds by name, key and architecture, and tells what there is instead', async () => {
    await publish(one, 'a:b', 'amd64');
    await publish(two, 'a:b', 'arm64');
    expect(store.find('a:b', 'aarch64').key).toBe(two);
    expect(store.find('11111111').key).toBe(one);
    expect(() => store.find('a:b', 's390x')).toThrow("there is no image 'a:b' for s390x (there is one for");
    expect(() => store.find('none')).toThrow("'nestling image build' makes one");
  });

  it('passes over what is damaged, and does not follow what its descriptions say', () => {
    const bad = join(store.dir, '3'.repeat(32));
    mkdirSync(bad);
    writeFileSync(
      join(bad, 'image.json'),
      JSON.stringify({ name: 'x', arch: 'x', made: 'x', origin: 'x', sizeBytes: 1, tarball: '../../etc/passwd' }),
    );
    mkdirSync(join(store.dir, '4'.repeat(32)));
    expect(store.list().map(({ name }) => name)).toEqual(['a:b', 'a:b']);
  });

  it('has one builder of a key, and removes nothing that is held', async () => {
    using lock = store.lock(one);
    expect(() => store.lock(one)).toThrow(/is being made by process \d+; wait for it/);
    const held = store.hold(store.find('11111111'));
    await expect(store.remove(store.find('11111111'))).rejects.toThrow('is in use');
    held[Symbol.dispose]();
    await store.remove(store.find('11111111'));
    expect(store.get(one)).toBeUndefined();
    lock[Symbol.dispose]();
  });
});

describe('what comes from elsewhere', () => {
  it('a mirror that changes has another hash, one that is not there has none', async () => {
    const file = join(scratch, 'InRelease');
    writeFileSync(file, 'one');
    const first = await readFreshness([`file://${file}`, `file://${scratch}/none`]);
    writeFileSync(file, 'two');
    expect((await readFreshness([`file://${file}`])).hash).not.toBe(first.hash);
    expect(await readFreshness([`file://${scratch}/none`])).toEqual({ hash: undefined, isMissing: true });
    expect(await readFreshness(['http://127.0.0.1:9/'])).toEqual({ hash: undefined, isMissing: false });
  });

  it('an OCI layout names no files but its own', async () => {
    const layout = join(scratch, 'oci');
    mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
    const index = (digest: string): void =>
      writeFileSync(join(layout, 'index.json'), JSON.stringify({ manifests: [{ digest }] }));
    index('sha256:../../../../etc/passwd');
    await expect(readOciLayout(layout, findArchitecture('amd64'))).rejects.toThrow('only sha256 is known');
    index(`sha256:${'a'.repeat(64)}`);
    await expect(readOciLayout(layout, findArchitecture('amd64'))).rejects.toThrow('lacks its blob');
    symlinkSync('/etc/passwd', join(layout, 'blobs/sha256', 'a'.repeat(64)));
    await expect(readOciLayout(layout, findArchitecture('amd64'))).rejects.toThrow('lacks its blob');
  });
});
