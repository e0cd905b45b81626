/**
 * Which releases of which distributions can be built, where their packages are, and which keys sign them: the one table of this
 * knowledge. What is not in it can be built with --mirror when the distribution is known; support ends are of general updates.
 */

export type Family = 'debian' | 'rpm' | 'pacman';

export interface Distribution {
  readonly name: string;
  readonly family: Family;
  /** What a name without a release means. */
  readonly latest: string;
  readonly mirror: string;
  /** For architectures that the first mirror does not have. */
  readonly portsMirror?: string;
  readonly portsKeyring?: Keyring;
  readonly mainArchitectures?: readonly string[];
  readonly securityMirror?: string;
  /** Where releases go when nobody updates them any more. */
  readonly archiveMirror?: string;
  readonly archiveSecurityMirror?: string;
  readonly components: readonly string[];
  readonly keyring: Keyring;
  /** Has the keys that signed archived releases. */
  readonly archiveKeyring?: Keyring;
}

/** Files with keys; the first that exists is taken. */
export interface Keyring {
  readonly paths: readonly string[];
  /** The Debian package that brings it. */
  readonly debianPackage: string;
  /** What makes it of that package's files. */
  readonly setUp?: string;
}

export interface Release {
  readonly distribution: string;
  readonly name: string;
  readonly version: string;
  /** It is not on the ordinary mirrors any more. */
  readonly isArchived?: true;
  /** Its suite of security updates (`NAME-security`, formerly `NAME/updates`); absent: it has none. */
  readonly security?: string;
  readonly updates?: string;
  /** Its Release file is signed with SHA-1, or by a key that is too short for today's rules. */
  readonly isWeaklySigned?: true;
  /** Too old for mmdebstrap's way of unpacking. */
  readonly needsDebootstrap?: true;
}

const DEBIAN_KEYRING: Keyring = {
  paths: ['/usr/share/keyrings/debian-archive-keyring.gpg', '/usr/share/keyrings/debian-archive-keyring.pgp'],
  debianPackage: 'debian-archive-keyring',
};
const DEBIAN_REMOVED: Keyring = {
  paths: ['/usr/share/keyrings/debian-archive-removed-keys.gpg', '/usr/share/keyrings/debian-archive-removed-keys.pgp'],
  debianPackage: 'debian-archive-keyring',
};
const UBUNTU_KEYRING: Keyring = {
  paths: ['/usr/share/keyrings/ubuntu-archive-keyring.gpg'],
  debianPackage: 'ubuntu-keyring',
};
const UBUNTU_REMOVED: Keyring = {
  paths: ['/usr/share/keyrings/ubuntu-archive-removed-keys.gpg'],
  debianPackage: 'ubuntu-keyring',
};
const RPM_KEYS = '/usr/share/distribution-gpg-keys';

export const DISTRIBUTIONS: readonly Distribution[] = [
  {
    name: 'debian',
    family: 'debian',
    latest: 'trixie',
    mirror: 'http://deb.debian.org/debian',
    portsMirror: 'http://deb.debian.org/debian-ports',
    portsKeyring: {
      paths: ['/usr/share/keyrings/debian-ports-archive-keyring.gpg'],
      debianPackage: 'debian-ports-archive-keyring',
    },
    mainArchitectures: [
      'amd64',
      'i386',
      'arm64',
      'armhf',
      'armel',
      'ppc64el',
      's390x',
      'riscv64',
      'mips64el',
      'mipsel',
      'mips',
    ],
    securityMirror: 'http://deb.debian.org/debian-security',
    archiveMirror: 'http://archive.debian.org/debian',
    archiveSecurityMirror: 'http://archive.debian.org/debian-security',
    components: ['main'],
    keyring: DEBIAN_KEYRING,
    archiveKeyring: DEBIAN_REMOVED,
  },
  {
    name: 'ubuntu',
    family: 'debian',
    latest: 'noble',
    mirror: 'http://archive.ubuntu.com/ubuntu',
    portsMirror: 'http://ports.ubuntu.com/ubuntu-ports',
    mainArchitectures: ['amd64', 'i386'],
    archiveMirror: 'http://old-releases.ubuntu.com/ubuntu',
    components: ['main', 'universe'],
    keyring: UBUNTU_KEYRING,
    archiveKeyring: UBUNTU_REMOVED,
  },
  {
    name: 'fedora',
    family: 'rpm',
    latest: '43',
    mirror: 'https://dl.fedoraproject.org/pub/fedora/linux',
    archiveMirror: 'https://archives.fedoraproject.org/pub/archive/fedora/linux',
    components: [],
    keyring: {
      paths: [
        `${RPM_KEYS}/fedora/RPM-GPG-KEY-fedora-RELEASE-primary`,
        '/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-RELEASE-primary',
      ],
      debianPackage: 'distribution-gpg-keys',
    },
  },
  {
    name: 'rocky',
    family: 'rpm',
    latest: '9',
    mirror: 'https://dl.rockylinux.org/pub/rocky',
    archiveMirror: 'https://dl.rockylinux.org/vault/rocky',
    components: ['BaseOS', 'AppStream'],
    keyring: { paths: [`${RPM_KEYS}/rocky/RPM-GPG-KEY-Rocky-RELEASE`], debianPackage: 'distribution-gpg-keys' },
  },
  {
    name: 'almalinux',
    family: 'rpm',
    latest: '9',
    mirror: 'https://repo.almalinux.org/almalinux',
    archiveMirror: 'https://vault.almalinux.org',
    components: ['BaseOS', 'AppStream'],
    keyring: { paths: [`${RPM_KEYS}/alma/RPM-GPG-KEY-AlmaLinux-RELEASE`], debianPackage: 'distribution-gpg-keys' },
  },
  {
    name: 'arch',
    family: 'pacman',
    latest: 'rolling',
    mirror: 'https://geo.mirror.pkgbuild.com/$repo/os/$arch',
    portsMirror: 'http://mirror.archlinuxarm.org/$arch/$repo',
    mainArchitectures: ['amd64'],
    components: ['core', 'extra'],
    keyring: {
      paths: ['/etc/pacman.d/gnupg/pubring.gpg'],
      debianPackage: 'archlinux-keyring',
      setUp: 'pacman-key --init && pacman-key --populate archlinux',
    },
  },
];

const debian = (name: string, version: string, more: Partial<Release> = {}): Release => ({
  distribution: 'debian',
  name,
  version,
  ...more,
});
const ubuntu = (name: string, version: string, more: Partial<Release> = {}): Release => ({
  distribution: 'ubuntu',
  name,
  version,
  security: `${name}-security`,
  updates: `${name}-updates`,
  ...more,
});
const OLD = { isArchived: true, isWeaklySigned: true } as const;
const ANCIENT = { ...OLD, needsDebootstrap: true } as const;
const ARCHIVED = { isArchived: true } as const;

export const RELEASES: readonly Release[] = [
  debian('sarge', '3.1', ANCIENT),
  debian('etch', '4.0', { ...ANCIENT, security: 'etch/updates' }),
  debian('lenny', '5.0', { ...ANCIENT, security: 'lenny/updates' }),
  debian('squeeze', '6.0', { ...ANCIENT, security: 'squeeze/updates' }),
  debian('wheezy', '7', { ...ANCIENT, security: 'wheezy/updates' }),
  debian('jessie', '8', { ...OLD, security: 'jessie/updates' }),
  debian('stretch', '9', { ...ARCHIVED, security: 'stretch/updates' }),
  debian('buster', '10', { ...ARCHIVED, security: 'buster/updates' }),
  debian('bullseye', '11', { security: 'bullseye-security', updates: 'bullseye-updates' }),
  debian('bookworm', '12', { security: 'bookworm-security', updates: 'bookworm-updates' }),
  debian('trixie', '13', { security: 'trixie-security', updates: 'trixie-updates' }),
  debian('forky', '14'),
  debian('sid', 'unstable'),
  ...[
    'dapper 6.06',
    'edgy 6.10',
    'feisty 7.04',
    'gutsy 7.10',
    'hardy 8.04',
    'intrepid 8.10',
    'jaunty 9.04',
    'karmic 9.10',
  ]
    .concat([
      'lucid 10.04',
      'maverick 10.10',
      'natty 11.04',
      'oneiric 11.10',
      'precise 12.04',
      'quantal 12.10',
      'raring 13.04',
    ])
    .concat(['saucy 13.10'])
    .map((line) => ubuntu(...pair(line), ANCIENT)),
  ...['utopic 14.10', 'vivid 15.04', 'wily 15.10'].map((line) => ubuntu(...pair(line), OLD)),
  // Long-term ones stay on the ordinary mirrors for as long as somebody pays for them.
  ubuntu('trusty', '14.04', { isWeaklySigned: true }),
  ubuntu('xenial', '16.04', { isWeaklySigned: true }),
  ...[
    'yakkety 16.10',
    'zesty 17.04',
    'artful 17.10',
    'cosmic 18.10',
    'disco 19.04',
    'eoan 19.10',
    'groovy 20.10',
    'hirsute 21.04',
  ]
    .concat([
      'impish 21.10',
      'kinetic 22.10',
      'lunar 23.04',
      'mantic 23.10',
      'oracular 24.10',
      'plucky 25.04',
      'questing 25.10',
    ])
    .map((line) => ubuntu(...pair(line), ARCHIVED)),
  ubuntu('bionic', '18.04'),
  ubuntu('focal', '20.04'),
  ubuntu('jammy', '22.04'),
  ubuntu('noble', '24.04'),
  ubuntu('resolute', '26.04'),
  ...range(28, 41).map((version) => ({ distribution: 'fedora', name: version, version, ...ARCHIVED })),
  ...range(42, 44).map((version) => ({ distribution: 'fedora', name: version, version })),
  ...['8', '9', '10'].flatMap((version) =>
    ['rocky', 'almalinux'].map((distribution) => ({ distribution, name: version, version })),
  ),
  { distribution: 'arch', name: 'rolling', version: 'rolling' },
];

function pair(line: string): [string, string] {
  const [name = '', version = ''] = line.split(' ');
  return [name, version];
}

function range(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
}

/** Names that move on from release to release. */
const ALIASES: Readonly<Record<string, string>> = {
  'debian:unstable': 'sid',
  'debian:testing': 'forky',
  'debian:stable': 'trixie',
  'debian:oldstable': 'bookworm',
  'debian:oldoldstable': 'bullseye',
  'ubuntu:lts': 'noble',
  'ubuntu:latest': 'noble',
  'debian:latest': 'trixie',
  'arch:latest': 'rolling',
};

export function findDistribution(name: string): Distribution | undefined {
  const wanted = { archlinux: 'arch', alma: 'almalinux', rockylinux: 'rocky' }[name] ?? name;
  return DISTRIBUTIONS.find((distribution) => distribution.name === wanted);
}

/** By code name, version or alias. */
export function findRelease(distribution: string, name: string): Release | undefined {
  const wanted = ALIASES[`${distribution}:${name}`] ?? name;
  const all = RELEASES.filter((release) => release.distribution === distribution);
  return (
    all.find((release) => release.name === wanted || release.version === wanted) ??
    // `debian:12.5` is of release 12; there is but one set of packages for all its points.
    all.find((release) => /^\d+$/.test(release.version) && wanted.startsWith(`${release.version}.`))
  );
}
