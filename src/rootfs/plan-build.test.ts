/** Names and options become builders' commands: current releases, archived ones, other families, and what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findArchitecture, lookUpArchitecture } from './architecture.ts';
import { modeWithoutRoot } from './build-image.ts';
import type { BuildOptions } from './build-plan.ts';
import { explainBuilder } from './builder-words.ts';
import { parseBuildableName } from './image-name.ts';
import { fillIn, planBuild } from './plan-build.ts';
import { DISTRIBUTIONS, findRelease, RELEASES } from './releases.ts';

const AMD64 = { arch: 'amd64' } satisfies BuildOptions;
const argsOf = (name: string, options: BuildOptions = AMD64): readonly string[] =>
  planBuild(name, options).steps[0]?.args ?? [];

describe('releases', () => {
  it.each([
    ['debian:12', 'debian:bookworm'],
    ['debian:12.5', 'debian:bookworm'],
    ['debian:unstable', 'debian:sid'],
    ['debian', 'debian:trixie'],
    ['ubuntu:22.04', 'ubuntu:jammy'],
    ['ubuntu:lts', 'ubuntu:noble'],
    ['archlinux', 'arch'],
    ['fedora:43', 'fedora:43'],
    ['debian:sarge', 'debian:sarge'],
    ['debian:3.1', 'debian:sarge'],
  ])('%s is %s', (asked, name) => {
    expect(parseBuildableName(asked).name).toBe(name);
  });

  it('are named once each, and each distribution has its latest', () => {
    const names = RELEASES.map(({ distribution, name }) => `${distribution}:${name}`);
    expect(new Set(names).size).toBe(names.length);
    expect(DISTRIBUTIONS.filter(({ name, latest }) => findRelease(name, latest) === undefined)).toEqual([]);
  });

  it('that are unknown are listed, and built from a mirror that is given', () => {
    expect(() => planBuild('debian:nonesuch', AMD64)).toThrow(/no release 'nonesuch' .* bookworm, .* --mirror URL/);
    expect(planBuild('debian:duke', { ...AMD64, mirror: 'http://mirror.example/debian/' }).freshness[0]).toBe(
      'http://mirror.example/debian/dists/duke/InRelease',
    );
    expect(() => planBuild('alpine:3', AMD64)).toThrow(/known are debian, ubuntu, fedora/);
  });
});

describe('Debian and its kin', () => {
  it('get mmdebstrap with updates and the keys of the distribution', () => {
    const plan = planBuild('debian:bookworm', { arch: 'aarch64', packages: ['sudo', 'bash'] });
    expect(plan).toMatchObject({ builder: 'mmdebstrap', notes: [], architecture: { name: 'arm64' } });
    expect(plan.steps.map(({ command }) => command)).toEqual(['mmdebstrap']);
    expect(plan.steps[0]?.args).toEqual([
      '--mode=root',
      '--variant=minbase',
      '--architectures=arm64',
      '--skip=check/qemu',
      '--include=bash,sudo',
      '--keyring=@KEYRING@',
      '--customize-hook=rm -f "$1/etc/hostname"',
      'bookworm',
      '@OUTPUT@',
      'deb http://deb.debian.org/debian bookworm main',
      'deb http://deb.debian.org/debian bookworm-updates main',
      'deb http://deb.debian.org/debian-security bookworm-security main',
    ]);
    expect(plan.keyring?.debianPackage).toBe('debian-archive-keyring');
  });

  it.each(['debian:bookworm', 'debian:wheezy', 'fedora:43', 'arch'])(
    '%s is the same in whatever order packages are asked for',
    (name) => {
      const planOf = (...packages: string[]): string => JSON.stringify(planBuild(name, { arch: 'amd64', packages }));
      expect(planOf('zsh', 'bash', 'sudo', 'bash')).toBe(planOf('sudo', 'bash', 'zsh'));
    },
  );

  it('are built by those who are not root in the way that was found for them', () => {
    const etc = mkdtempSync(join(tmpdir(), 'etc-'));
    try {
      writeFileSync(join(etc, 'subuid'), 'other:100000:65536\n');
      const options = { etc, user: ['keeper', '1000'], has: (program: string) => program === 'newuidmap' };
      expect(modeWithoutRoot(options)).toBeUndefined();
      expect(modeWithoutRoot({ ...options, has: () => true })).toBe('fakechroot');
      writeFileSync(join(etc, 'subuid'), 'keeper:100000:65536\n');
      expect(modeWithoutRoot(options)).toBeUndefined();
      writeFileSync(join(etc, 'subgid'), '1000:100000:65536\n');
      expect(modeWithoutRoot(options)).toBe('unshare');
      expect(modeWithoutRoot({ ...options, has: () => false })).toBeUndefined();
    } finally {
      rmSync(etc, { recursive: true });
    }
    expect(argsOf('debian:bookworm', { ...AMD64, mode: 'unshare' })[0]).toBe('--mode=unshare');
  });

  it('that are archived come from there, with old keys and dates, and what that means is said', () => {
    const plan = planBuild('debian:jessie', AMD64);
    expect(plan.steps[0]?.args).toEqual(
      expect.arrayContaining([
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Hashes::SHA1::Weak "true"',
        'deb [check-valid-until=no] http://archive.debian.org/debian jessie main',
        'deb [check-valid-until=no] http://archive.debian.org/debian-security jessie/updates main',
      ]),
    );
    expect(plan.keyring?.paths[0]).toBe('/usr/share/keyrings/debian-archive-removed-keys.gpg');
    expect(plan.notes.join('\n')).toMatch(/nobody updates it[^]*SHA-1/);
  });

  it('of long ago get debootstrap, also those before apt checked signatures', () => {
    const [build, pack] = planBuild('debian:sarge', { arch: 'i386' }).steps;
    expect(build).toMatchObject({ command: 'debootstrap' });
    expect(build?.args.slice(-6)).toEqual([
      '--components=main',
      '--force-check-gpg',
      '--keyring=@KEYRING@',
      'sarge',
      '@ROOT@',
      'http://archive.debian.org/debian',
    ]);
    expect(pack?.command).toBe('tar');
    expect(planBuild('debian:bookworm', { ...AMD64, builder: 'debootstrap' }).builder).toBe('debootstrap');
  });

  it('of Ubuntu come from the mirror of their architecture and age', () => {
    expect(argsOf('ubuntu:jammy')).toContain('deb http://archive.ubuntu.com/ubuntu jammy-security main universe');
    expect(argsOf('ubuntu:jammy', { arch: 's390x' })).toContain(
      'deb http://ports.ubuntu.com/ubuntu-ports jammy main universe',
    );
    expect(argsOf('ubuntu:hardy').at(-1)).toBe('http://old-releases.ubuntu.com/ubuntu');
    expect(planBuild('ubuntu:hardy', AMD64).keyring?.paths[0]).toMatch(/removed/);
    expect(argsOf('ubuntu:focal', { ...AMD64, archive: true }).at(-1)).toContain('old-releases');
  });

  it('for architectures on the side come from the ports, with their keys', () => {
    const plan = planBuild('debian:sid', { arch: 'alpha' });
    expect(plan.steps[0]?.args.at(-1)).toBe('deb http://deb.debian.org/debian-ports sid main');
    expect(plan.keyring?.debianPackage).toBe('debian-ports-archive-keyring');
  });

  it('of a mirror of one’s own come from there alone, checked unless told otherwise', () => {
    const plan = planBuild('debian:bookworm', { ...AMD64, mirror: 'file:///srv/mirror/', insecure: true });
    expect(plan.steps[0]?.args.filter((arg) => arg.startsWith('deb '))).toEqual([
      'deb [trusted=yes] copy:///srv/mirror bookworm main',
    ]);
    expect(plan.keyring).toBeUndefined();
    expect(plan.notes[0]).toMatch(/^signatures are not checked/);
  });
});

describe('other families', () => {
  it('rpm: dnf, neither with the host’s repositories nor its settings', () => {
    const plan = planBuild('fedora:43', { arch: 'arm64', packages: ['sudo'] });
    expect(plan.steps[0]?.args).toEqual(
      expect.arrayContaining([
        '--installroot=@ROOT@',
        '--forcearch=aarch64',
        '--setopt=reposdir=@WORK@',
        '--repofrompath=fedora,https://dl.fedoraproject.org/pub/fedora/linux/releases/43/Everything/aarch64/os',
        '--setopt=fedora.gpgcheck=1',
        'sudo',
      ]),
    );
    expect(plan.keyring?.paths[0]).toMatch(/fedora-43-primary$/);
    expect(argsOf('fedora:30').join(' ')).toContain('archives.fedoraproject.org');
    expect(argsOf('rocky:9').join(' ')).toContain('/9/BaseOS/x86_64/os');
    expect(plan.files).toEqual({ '.rpmmacros': '%_dbpath /usr/lib/sysimage/rpm\n' });
    expect(planBuild('rocky:9', AMD64).files).toEqual({ '.rpmmacros': '%_dbpath /var/lib/rpm\n' });
    expect(plan.steps[1]?.args).toContain('--exclude=./var/cache/dnf/*');
    expect(() => planBuild('fedora:43', { arch: 'm68k' })).toThrow('fedora is not made for m68k');
  });

  it('pacman: pacstrap with a configuration of its own', () => {
    const plan = planBuild('arch', { arch: 'arm64' });
    expect(plan.files['pacman.conf']).toContain('Architecture = aarch64');
    expect(plan.files['pacman.conf']).toContain('[core]\nServer = http://mirror.archlinuxarm.org/$arch/$repo');
    expect(plan.freshness[0]).toBe('http://mirror.archlinuxarm.org/aarch64/core/core.db');
    expect(plan.needs.map(({ debianPackage }) => debianPackage)).toEqual([
      'arch-install-scripts',
      'pacman-package-manager',
    ]);
  });
});

describe('what cannot be', () => {
  it.each([
    ['a package that is an option', { packages: ['--force'] }],
    ['two in one', { packages: ['a,b'] }],
    ['a mirror with a second line', { mirror: 'http://x\ndeb y' }],
    ['a mirror of another kind', { mirror: 'ftp://x' }],
    ['a keyring that is not a path', { keyring: 'x] trusted=yes [' }],
    ['an architecture', { arch: 'pdp11' }],
  ])('%s is refused', (_, options) => {
    expect(() => planBuild('debian:bookworm', { ...AMD64, ...options })).toThrow(expect.objectContaining({ code: 8 }));
  });

  it('whatever a package is called, it stays one word of one argument', () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        let args: readonly string[];
        try {
          args = argsOf('debian:bookworm', { ...AMD64, packages: [name] });
        } catch {
          return true;
        }
        return args.includes(`--include=${name}`) && !/[\s,]/.test(name) && !name.startsWith('-');
      }),
    );
  });
});

it('paths are filled in at the end, so that the plan is the same everywhere', () => {
  const paths = { root: '/r', output: '/o', work: '/w', keyring: '/k' };
  expect(fillIn('--keyring=@KEYRING@ @ROOT@ @OUTPUT@ @WORK@/x', paths)).toBe('--keyring=/k /r /o /w/x');
  expect(planBuild('debian:bookworm', AMD64)).toEqual(planBuild('debian:12', AMD64));
});

it('architectures are found by any world’s name', () => {
  expect(
    ['aarch64', 'arm64', 'x86_64', '386', 'ppc64le', 'armv7hl', 'mipsle'].map((name) => findArchitecture(name).name),
  ).toEqual(['arm64', 'arm64', 'amd64', 'i386', 'ppc64el', 'armhf', 'mipsel']);
  expect(lookUpArchitecture('vax')).toBeUndefined();
});

it('builders’ last words become one line with what helps', () => {
  expect(explainBuilder('I: one\nE: The repository is not signed.\nI: two')).toMatchObject({
    cause: 'E: The repository is not signed.',
    fix: expect.stringContaining('--keyring FILE'),
  });
  expect(explainBuilder('something\nelse')).toEqual({ cause: 'something; else', fix: undefined });
});
