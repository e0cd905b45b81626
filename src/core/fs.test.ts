import {
  chmodSync,
  existsSync,
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
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  MAX_SOCKET_PATH_BYTES,
  makeShortTempDir,
  PathRefusedError,
  removeTree,
  removeUnfinished,
  socketPath,
  writeFileAtomic,
} from './fs.ts';
import { MAX_RUNTIME_DIR_BYTES, prepareRuntimeDir, runtimeDirCandidates } from './fs-runtime-dir.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-fs-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('writeFileAtomic', () => {
  test('replaces content and mode and leaves nothing else', async () => {
    const path = join(root, 'domain.xml');
    await writeFileAtomic(path, 'old');
    await writeFileAtomic(path, new TextEncoder().encode('new'), { mode: 0o600, sync: false });
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(root)).toEqual(['domain.xml']);
  });

  test('a failure leaves the old state: here the target is a directory', async () => {
    mkdirSync(join(root, 'taken'));
    await expect(writeFileAtomic(join(root, 'taken'), 'x')).rejects.toThrow('EISDIR');
    expect(readdirSync(root)).toEqual(['taken']);
    expect(readdirSync(join(root, 'taken'))).toEqual([]);
  });
});

test('what a killed writer has not finished is removed, and nothing else', () => {
  for (const name of ['.nestling-5cfc63fb6e81.tmp', '.other.tmp', 'kept']) writeFileSync(join(root, name), '');
  removeUnfinished(root);
  expect(
    readdirSync(root)
      .filter((name) => name.includes('tmp') || name === 'kept')
      .toSorted(),
  ).toEqual(['.other.tmp', 'kept']);
});

describe('removeTree', () => {
  test('removes a directory below the root and is idempotent', async () => {
    mkdirSync(join(root, 'guest/deep'), { recursive: true });
    writeFileSync(join(root, 'guest/deep/file'), '');
    await removeTree(join(root, 'guest'), { root });
    await removeTree(join(root, 'guest'), { root });
    expect(readdirSync(root)).toEqual([]);
  });

  test('links inside are removed, what they point to is not', async () => {
    mkdirSync(join(root, 'guest'));
    mkdirSync(join(root, 'precious'));
    writeFileSync(join(root, 'precious/file'), '');
    symlinkSync(join(root, 'precious'), join(root, 'guest/link'));
    await removeTree(join(root, 'guest'), { root });
    expect(existsSync(join(root, 'precious/file'))).toBe(true);
  });

  test.each([
    ['/', '/', 'no root to remove below'],
    ['/etc', '/', 'no root to remove below'],
    ['ROOT', 'ROOT', 'not below'],
    ['ROOT/../other', 'ROOT', 'plain absolute path'],
    ['ROOT/guest/', 'ROOT', 'plain absolute path'],
    ['guest', 'ROOT', 'plain absolute path'],
    ['ROOTX', 'ROOT', 'not below'],
    ['/etc', 'ROOT', 'not below'],
    ['ROOT/home', 'ROOT', 'holds the home directory'],
    ['ROOT/link', 'ROOT', 'symbolic link'],
    ['ROOT/link/inner', 'ROOT', 'part of the path is a symbolic link'],
    ['ROOT/file', 'ROOT', 'not a directory'],
    ['ROOT/with mount', 'ROOT', 'is a mount point'],
  ])('refuses %s below %s', async (path, below, rule) => {
    for (const name of ['home/me', 'real/inner', 'with mount/data']) mkdirSync(join(root, name), { recursive: true });
    symlinkSync('real', join(root, 'link'));
    writeFileSync(join(root, 'file'), '');
    const mountInfoPath = join(root, 'mountinfo');
    writeFileSync(mountInfoPath, `22 27 0:21 / ${root}/with\\040mount/data rw - tmpfs tmpfs rw\n`);
    const removal = removeTree(path.replace('ROOT', root), {
      root: below.replace('ROOT', root),
      home: join(root, 'home/me'),
      mountInfoPath,
    });
    await expect(removal).rejects.toBeInstanceOf(PathRefusedError);
    await expect(removal).rejects.toThrow(rule);
    expect(readdirSync(root).toSorted()).toEqual(['file', 'home', 'link', 'mountinfo', 'real', 'with mount']);
  });
});

describe('runtime directory', () => {
  const uid = process.getuid?.() ?? 0;

  test.each([
    [{ uid: 0 }, ['/run/nestling', '/tmp/nestling-0']],
    [
      { uid: 0, isMemory: (path: string) => path === '/dev/shm' },
      ['/dev/shm/nestling', '/run/nestling', '/tmp/nestling-0'],
    ],
    [{ uid: 0, isMemory: () => false }, ['/run/nestling', '/tmp/nestling-0']],
    [{ uid: 0, xdgRuntimeDir: '/run/user/0' }, ['/run/nestling', '/tmp/nestling-0']],
    [{ uid: 1000, xdgRuntimeDir: '/run/user/1000' }, ['/run/user/1000/nestling', '/tmp/nestling-1000']],
    [{ uid: 1000 }, ['/tmp/nestling-1000']],
    [{ uid: 1000, xdgRuntimeDir: 'relative' }, ['/tmp/nestling-1000']],
    [{ uid: 4294967294, xdgRuntimeDir: `/${'x'.repeat(200)}` }, ['/tmp/nestling-4294967294']],
  ])('candidates of %o', (facts, expected) => {
    expect(runtimeDirCandidates({ isMemory: () => true, ...facts })).toEqual(expected);
    for (const path of expected) expect(Buffer.byteLength(path)).toBeLessThanOrEqual(MAX_RUNTIME_DIR_BYTES);
  });

  test('stays short with a TMPDIR of 200 bytes', () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = `/${'t'.repeat(199)}`;
    try {
      expect(runtimeDirCandidates({ uid: 1000 })).toEqual(['/tmp/nestling-1000']);
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
  });

  test('is made private, taken again, and passes over what cannot be written', () => {
    const facts = { uid, run: join(root, 'absent'), shm: join(root, 'absent'), tmp: root };
    const path = prepareRuntimeDir(facts);
    expect(path).toBe(`${root}/nestling-${uid}`);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(prepareRuntimeDir(facts)).toBe(path);
  });

  test('is refused when others could write to it, or it is a link, a file or not ours', () => {
    const path = `${root}/nestling-${uid}`;
    const facts = { uid, run: join(root, 'absent'), shm: join(root, 'absent'), tmp: root };
    mkdirSync(path);
    chmodSync(path, 0o777);
    expect(() => prepareRuntimeDir(facts)).toThrow('others may write to it (mode 777)');
    rmSync(path, { recursive: true });
    symlinkSync(root, path);
    expect(() => prepareRuntimeDir(facts)).toThrow('it is a symbolic link');
    rmSync(path);
    writeFileSync(path, '');
    expect(() => prepareRuntimeDir(facts)).toThrow('it is not a directory');
    mkdirSync(`${root}/nestling-${uid + 7}`);
    expect(() => prepareRuntimeDir({ ...facts, uid: uid + 7 })).toThrow(`it belongs to uid ${uid}, not ${uid + 7}`);
  });

  test('in shared memory one that somebody else has made is passed over', () => {
    const run = join(root, 'run');
    const shm = join(root, 'shm');
    for (const dir of [run, shm]) mkdirSync(dir);
    const facts = { uid: 0, run, shm, tmp: root, isMemory: (path: string) => path === shm };
    mkdirSync(join(shm, 'nestling'));
    chmodSync(join(shm, 'nestling'), 0o777);
    expect(prepareRuntimeDir(facts)).toBe(join(run, 'nestling'));
    rmSync(join(shm, 'nestling'), { recursive: true });
    expect(prepareRuntimeDir(facts)).toBe(join(shm, 'nestling'));
    if (uid === 0) expect(prepareRuntimeDir(facts)).toBe(join(shm, 'nestling'));
  });

  test('the longest one leaves room for a guest folder and a socket', async () => {
    const longest = `/${'r'.repeat(MAX_RUNTIME_DIR_BYTES - 1)}`;
    const folder = await makeShortTempDir(root, 'g');
    const path = socketPath(`${longest}/${folder.slice(root.length + 1)}`, 'virtiofs-0123456789-reconnect.sock');
    expect(Buffer.byteLength(path)).toBeLessThanOrEqual(MAX_SOCKET_PATH_BYTES);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(() => socketPath(longest, 's'.repeat(59))).toThrow('the kernel takes 107');
    expect(socketPath(longest, 's'.repeat(58))).toHaveLength(107);
  });
});
