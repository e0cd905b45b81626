/** The one entry point to host facts, and the small readers behind it that have no test file of their own. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultCacheDir, readCacheFile, writeCacheFile } from './cache-file.ts';
import { findVersion, readHelperPrograms } from './helper-programs.ts';
import { readHostFacts } from './host-facts.ts';
import { readWhoAmI } from './who-am-i.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('readHostFacts', () => {
  it('reads only what is asked for', async () => {
    // Any other reader would fail on a /proc that is not there.
    const facts = await readHostFacts(['arch', 'firmware'], {
      arch: 'aarch64',
      proc: '/nonexistent',
      firmwareDirs: [dir],
    });
    expect(facts).toEqual({ arch: 'aarch64', firmware: { descriptors: [], problems: [] } });
    await expect(readHostFacts(['memoryKiB'], { proc: '/nonexistent' })).rejects.toThrow(/ENOENT/);
  });

  it('passes its roots on', async () => {
    writeFileSync(join(dir, 'meminfo'), 'MemTotal: 77 kB\n');
    writeFileSync(join(dir, 'cpuinfo'), 'flags : a b\n');
    const facts = await readHostFacts(['memoryKiB', 'cpu', 'kvm'], {
      proc: dir,
      arch: 'x86_64',
      kvm: { devKvm: join(dir, 'none'), cacheDir: null },
    });
    expect(facts.memoryKiB).toBe(77);
    expect(facts.cpu.flags).toEqual(['a', 'b']);
    expect(facts.kvm).toMatchObject({ usable: false, reason: 'absent' });
  });

  it('reads this host', async () => {
    const facts = await readHostFacts(['arch', 'memoryKiB', 'topology', 'pageSizesKiB', 'whoAmI', 'numaNodes']);
    expect(facts.memoryKiB).toBeGreaterThan(1000);
    expect(facts.topology.cpus.length).toBeGreaterThan(0);
    expect(facts.pageSizesKiB[0]).toBeGreaterThanOrEqual(4);
    expect(facts.whoAmI.uid).toBe(process.geteuid?.());
  });
});

describe('readWhoAmI', () => {
  const read = (env: NodeJS.ProcessEnv = {}) => readWhoAmI({ root: dir, proc: join(dir, 'proc'), env });
  beforeEach(() => {
    for (const name of ['proc/self', 'proc/1', 'run']) mkdirSync(join(dir, name), { recursive: true });
  });

  it('sees no container where there is no sign of one', () => {
    expect(read()).not.toHaveProperty('container');
  });

  it.each<[string, () => void, NodeJS.ProcessEnv, string]>([
    ['init', () => writeFileSync(join(dir, 'proc/1/environ'), 'A=1\0container=lxc\0'), {}, 'lxc'],
    ['/.dockerenv', () => writeFileSync(join(dir, '.dockerenv'), ''), {}, 'docker'],
    ['/run/.containerenv', () => writeFileSync(join(dir, 'run/.containerenv'), ''), {}, 'podman'],
    ['the environment', () => {}, { container: 'oci' }, 'oci'],
    ['Kubernetes', () => {}, { KUBERNETES_SERVICE_HOST: '10.0.0.1' }, 'kubernetes'],
  ])('sees a container by %s', (_name, prepare, env, expected) => {
    prepare();
    expect(read(env).container).toBe(expected);
  });

  it.each([
    ['         0          0 4294967295\n', false],
    ['         0       1000          1\n', true],
    ['0 100000 65536\n65536 0 1\n', true],
    ['', false],
  ])('reads uid_map %j', (map, expected) => {
    writeFileSync(join(dir, 'proc/self/uid_map'), map);
    expect(read().userNamespace).toBe(expected);
  });
});

describe('readHelperPrograms', () => {
  function program(name: string, body: string): string {
    const path = join(dir, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  it('finds programs in PATH, in further folders, and by vhost-user description', async () => {
    const swtpm = program('bin/swtpm', 'echo "TPM emulator version 0.7.1, Copyright"');
    const bridge = program('lib/qemu-bridge-helper', `touch ${dir}/was-run`);
    const virtiofsd = program('odd/virtiofsd', 'echo "virtiofsd 1.10.0" >&2; exit 1');
    mkdirSync(join(dir, 'vhost-user'));
    writeFileSync(join(dir, 'vhost-user/50-virtiofsd.json'), JSON.stringify({ type: 'fs', binary: virtiofsd }));
    const roots = { path: join(dir, 'bin'), folders: [join(dir, 'lib')], vhostUserDir: join(dir, 'vhost-user') };
    const helpers = await readHelperPrograms(roots);
    expect(helpers.swtpm).toEqual({ path: swtpm, version: '0.7.1' });
    expect(helpers.virtiofsd).toEqual({ path: virtiofsd, version: '1.10.0' });
    expect(helpers['qemu-bridge-helper']).toEqual({ path: bridge });
    expect(readdirSync(dir)).not.toContain('was-run');
  });

  it.each([
    ['passt 0.0~git20230309.7c7625d-1\nCopyright', '0.0~git20230309.7c7625d'],
    ['passt 2024_06_07.8a83b53', '2024_06_07.8a83b53'],
    ['virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7)', '7.2.22'],
    ['no version here', undefined],
  ])('reads the version in %j', (text, expected) => expect(findVersion(text)).toBe(expected));
});

describe('cache files', () => {
  it('knows where they belong', () => {
    expect(defaultCacheDir({ uid: 0, env: { HOME: '/root' } })).toBe('/var/cache/nestling');
    expect(defaultCacheDir({ uid: 1, env: { HOME: '/h' } })).toBe('/h/.cache/nestling');
    expect(defaultCacheDir({ uid: 1, env: { HOME: '/h', XDG_CACHE_HOME: '/x' } })).toBe('/x/nestling');
    expect(defaultCacheDir({ uid: 1, env: { XDG_CACHE_HOME: 'relative' } })).toBeUndefined();
    expect(defaultCacheDir({ uid: 1, env: {} })).toBeUndefined();
    expect(defaultCacheDir({ uid: 0, env: { NESTLING_CACHE_DIR: '/c' } })).toBe('/c');
    expect(defaultCacheDir({ uid: 1, env: { HOME: '/h', NESTLING_CACHE_DIR: 'relative' } })).toBe('/h/.cache/nestling');
  });

  it('come back as they were written, and leave no temporary file', () => {
    const path = join(dir, 'a/b/file.json');
    writeCacheFile(path, { a: 1 });
    writeCacheFile(path, { a: 2 });
    expect(readCacheFile(path)).toEqual({ a: 2 });
    expect(readdirSync(join(dir, 'a/b'))).toEqual(['file.json']);
  });

  it('leave no temporary file when they cannot be put in place', () => {
    mkdirSync(join(dir, 'taken/x'), { recursive: true });
    expect(() => writeCacheFile(join(dir, 'taken'), 1)).toThrow();
    expect(readdirSync(dir)).toEqual(['taken']);
  });

  it('are a miss when damaged or absent', () => {
    writeFileSync(join(dir, 'bad'), '{"a":');
    expect(readCacheFile(join(dir, 'bad'))).toBeUndefined();
    expect(readCacheFile(join(dir, 'none'))).toBeUndefined();
  });
});
