/** Containers' definitions against roots of plain files, on hosts of each kind. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CgroupHost } from '../cgroup/host.ts';
import { planPerson } from '../driver/lxc/plan/person.ts';
import { parseDomain } from '../model/domain/domain.ts';
import { checkContainerGuest } from './container-checks.ts';
import type { Finding } from './finding.ts';
import { readGuestSystemd } from './guest-systemd.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-root-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, text = ''): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** An ELF program's bytes around what it says of itself. */
const oldProgram = (version: number): string =>
  `\u007fELF\0\0/etc/systemd\0systemd ${version} running in %ssystem mode. (+PAM)\0Welcome\0`;

function host(mode: CgroupHost['mode']): CgroupHost {
  return { mode, hierarchies: [], namespace: 'host', systemd: false, disabled: [] };
}

interface Case {
  readonly memoryMiB?: number;
  readonly mode?: CgroupHost['mode'];
  readonly source?: string;
}

function check({ memoryMiB = 512, mode = 'v2', source = root }: Case = {}): Finding[] {
  const { domain } = parseDomain(`<domain type='lxc'><name>old</name><memory unit='MiB'>${memoryMiB}</memory>
    <os><type>exe</type><init>/sbin/init</init></os>
    <devices><filesystem type='mount'><source dir='${source}'/><target dir='/'/></filesystem></devices></domain>`);
  return checkContainerGuest(domain, host(mode));
}

const named = (findings: readonly Finding[], id: string): Finding | undefined => findings.find((one) => one.id === id);

describe("the systemd in a container's root", () => {
  it.each<[string, string, number]>([
    ['Debian 8', 'lib/systemd/systemd', 215],
    ['CentOS 7', 'usr/lib/systemd/systemd', 219],
  ])('is read from the program itself where it is old: %s', (_, path, version) => {
    put(path, oldProgram(version));
    expect(readGuestSystemd(root)).toEqual({ version, joinsNothing: false });
  });

  it.each([
    'usr/lib/systemd/libsystemd-shared-252.so',
    'usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so',
    'lib/systemd/libsystemd-shared-232.so',
    'usr/lib64/systemd/libsystemd-shared-249.so.1',
  ])("is read from its library's name where it has one: %s", (path) => {
    put(path);
    expect(readGuestSystemd(root)?.version).toBe(Number(/\d{3}/.exec(path.split('shared-')[1] ?? '')?.[0]));
  });

  it('is not known where there is none', () => {
    put('sbin/init', '#!/bin/sh\n');
    expect(readGuestSystemd(root)).toBeUndefined();
  });
});

describe('an old systemd', () => {
  beforeEach(() => {
    put('lib/systemd/systemd', oldProgram(215));
    mkdirSync(join(root, 'sbin'));
    symlinkSync('/lib/systemd/systemd', join(root, 'sbin/init'));
  });

  it('is warned of on a v2 host, with the message that it stops at and the remedy', () => {
    const finding = named(check(), 'guest-systemd');
    expect(finding).toMatchObject({ verdict: 'warn', fact: `systemd 215 in ${root}` });
    expect(finding?.why).toContain('Failed to create symlink /sys/fs/cgroup/net_cls: Operation not permitted');
    expect(finding?.fix?.command).toContain(`JoinControllers=\\n' >> ${root}/etc/systemd/system.conf`);
  });

  it.each<CgroupHost['mode']>(['v1', 'hybrid'])('is fine on a host with %s', (mode) => {
    expect(named(check({ mode }), 'guest-systemd')?.verdict).toBe('pass');
  });

  it('is fine once the remedy is there; a later file that takes it back counts', () => {
    put('etc/systemd/system.conf', '[Manager]\n#JoinControllers=cpu,cpuacct\nJoinControllers=\n');
    expect(named(check(), 'guest-systemd')).toMatchObject({ verdict: 'pass', fact: expect.stringContaining('Join') });
    put('etc/systemd/system.conf.d/50-join.conf', '[Manager]\nJoinControllers=cpu,cpuacct\n');
    expect(named(check(), 'guest-systemd')?.verdict).toBe('warn');
  });
});

describe('a container', () => {
  it('with 64 MiB is warned of, with 128 MiB it is not', () => {
    expect(named(check({ memoryMiB: 64 }), 'guest-memory')).toMatchObject({
      verdict: 'warn',
      fact: expect.stringContaining('64 MiB'),
      fix: { command: "<memory unit='MiB'>512</memory>" },
    });
    expect(named(check({ memoryMiB: 128 }), 'guest-memory')?.verdict).toBe('pass');
  });

  it('without its root, or without an init in it, fails', () => {
    expect(named(check({ source: '/nowhere' }), 'guest-root')).toMatchObject({
      verdict: 'fail',
      fact: '/nowhere is no folder',
    });
    expect(named(check(), 'guest-root')).toMatchObject({ verdict: 'fail', fact: `there is no /sbin/init in ${root}` });
    // A link that leads nowhere from here leads somewhere from inside.
    mkdirSync(join(root, 'sbin'));
    symlinkSync('/lib/systemd/systemd', join(root, 'sbin/init'));
    expect(named(check(), 'guest-root')?.verdict).toBe('pass');
  });
});

// A user is asked about other things.
describe.skipIf(process.getuid?.() !== 0)("the host's kernel settings", () => {
  const unified = (writable: boolean) => ({
    version: 2 as const,
    controllers: [],
    mountPoint: '/sys/fs/cgroup/unified',
    mountRoot: '/',
    ownPath: '/',
    ownDirectory: '/sys/fs/cgroup/unified',
    readOnly: !writable,
    writable,
  });
  const of = (rest: string, hierarchies: CgroupHost['hierarchies'] = []): string | undefined => {
    const { domain } = parseDomain(`<domain type='lxc'><name>x</name>${rest}</domain>`);
    const findings = checkContainerGuest(domain, { ...host('hybrid'), hierarchies }, undefined);
    return named(findings, 'guest-settings')?.verdict;
  };
  const capabilities = (rest: string): string => `<features><capabilities ${rest}</capabilities></features>`;

  it('are told where nothing keeps a root that may mount from them', () => {
    expect(of('')).toBe('warn');
    expect(of('', [unified(false)])).toBe('warn');
    expect(of('', [unified(true)])).toBe('pass');
    expect(of("<idmap><uid start='0' target='0' count='9'/><gid start='0' target='0' count='9'/></idmap>")).toBe(
      'warn',
    );
  });

  it.each([
    ["<idmap><uid start='0' target='1000' count='10'/><gid start='0' target='1000' count='10'/></idmap>"],
    [capabilities("policy='default'><sys_admin state='off'/>")],
    [capabilities("policy='allow'>")],
  ])('are not, where root may not mount, is another, or is to have them: %s', (rest) => {
    expect(of(rest)).toBeUndefined();
  });
});

it('says what a user who is not root may not have', () => {
  const ann = planPerson({ uid: 1000, gid: 1000, name: 'ann', uids: [], gids: [] });
  const of = (devices: string): Finding | undefined => {
    const { domain } = parseDomain(`<domain type='lxc'><name>x</name><devices>${devices}</devices></domain>`);
    return checkContainerGuest(domain, host('v2'), ann).find(({ id }) => id === 'guest-user');
  };
  expect(of("<interface type='user'/>")).toMatchObject({ verdict: 'pass', fact: 'ann may start it' });
  expect(of("<interface type='bridge'><source bridge='br0'/></interface>")).toMatchObject({
    verdict: 'fail',
    fact: expect.stringContaining("<interface type='bridge'> is root's to have"),
  });
});
