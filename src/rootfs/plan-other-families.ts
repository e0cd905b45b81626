/** Fedora and its kin by dnf, Arch Linux by pacstrap: what those are told. Pure. */
import { type BuildPlan, type BuildRequest, invalid, KEYRING, packStep, ROOT, WORK } from './build-plan.ts';
import type { Keyring } from './releases.ts';

export function planRpm(request: BuildRequest): BuildPlan {
  const { distribution, release, architecture, options, name, isArchived } = request;
  const arch = architecture.rpm;
  if (arch === undefined) throw invalid(`${distribution.name} is not made for ${architecture.name}`);
  const base =
    options.mirror ?? (isArchived ? (distribution.archiveMirror ?? distribution.mirror) : distribution.mirror);
  const repositories = repositoriesOf(request, base.replace(/\/+$/, ''), arch);
  const keyring = keyringOf(request);
  const packages = [
    distribution.name === 'fedora' ? 'fedora-release-container' : `${distribution.name}-release`,
    'bash',
    'coreutils',
    'dnf',
  ];
  return {
    name,
    architecture,
    builder: 'dnf',
    needs: [{ program: 'dnf', debianPackage: 'dnf' }],
    keyring,
    // Debian's rpm has its database below the home folder: there the new system's own rpm would not look.
    files: { '.rpmmacros': `%_dbpath ${databaseOf(request)}\n` },
    steps: [
      {
        command: 'dnf',
        env: { HOME: WORK },
        args: [
          '--assumeyes',
          `--installroot=${ROOT}`,
          `--releasever=${release.version}`,
          `--forcearch=${arch}`,
          // Neither the host's repositories nor its settings.
          `--setopt=reposdir=${WORK}`,
          // Below the new root, wherever it is said to be.
          '--setopt=cachedir=/var/cache/dnf',
          '--setopt=install_weak_deps=False',
          '--setopt=tsflags=nodocs',
          ...repositories.flatMap(({ id, url }) => [
            `--repofrompath=${id},${url}`,
            `--setopt=${id}.gpgcheck=${keyring === undefined ? 0 : 1}`,
            ...(keyring === undefined ? [] : [`--setopt=${id}.gpgkey=file://${KEYRING}`]),
          ]),
          'install',
          ...packages,
          ...(options.packages ?? []),
        ],
        title: `${name} by dnf`,
      },
      packStep(['./var/cache/dnf/*', './var/log/dnf*.log', './var/log/hawkey.log']),
    ],
    freshness: repositories.map(({ url }) => `${url}/repodata/repomd.xml`),
    notes: [
      ...(isArchived ? [`${name} is archived: nobody updates it any more`] : []),
      ...(keyring === undefined ? ['signatures are not checked'] : []),
    ],
  };
}

/** Where the system's own rpm has it: moved by Fedora 36 and what came of it. */
function databaseOf({ distribution, release }: BuildRequest): string {
  const since = distribution.name === 'fedora' ? 36 : 10;
  return Number.parseInt(release.version, 10) >= since ? '/usr/lib/sysimage/rpm' : '/var/lib/rpm';
}

function repositoriesOf(
  { distribution, release, options }: BuildRequest,
  base: string,
  arch: string,
): { id: string; url: string }[] {
  if (distribution.name === 'fedora') {
    return [
      { id: 'fedora', url: `${base}/releases/${release.version}/Everything/${arch}/os` },
      ...(options.mirror === undefined
        ? [{ id: 'updates', url: `${base}/updates/${release.version}/Everything/${arch}` }]
        : []),
    ];
  }
  return (options.components ?? distribution.components).map((component) => ({
    id: component.toLowerCase(),
    url: `${base}/${release.version}/${component}/${arch}/os`,
  }));
}

function keyringOf({ distribution, release, options }: BuildRequest): Keyring | undefined {
  if (options.insecure === true) return undefined;
  if (options.keyring !== undefined) return { paths: [options.keyring], debianPackage: '' };
  const { paths, debianPackage } = distribution.keyring;
  return { paths: paths.map((path) => path.replace('RELEASE', release.version)), debianPackage };
}

export function planPacman(request: BuildRequest): BuildPlan {
  const { distribution, architecture, options, name } = request;
  const arch = architecture.pacman;
  if (arch === undefined) throw invalid(`${distribution.name} is not made for ${architecture.name}`);
  const isMain = distribution.mainArchitectures?.includes(architecture.name) ?? true;
  const server = options.mirror ?? (isMain ? distribution.mirror : (distribution.portsMirror ?? distribution.mirror));
  const components = options.components ?? distribution.components;
  const keyring = options.insecure === true ? undefined : distribution.keyring;
  const configuration = [
    '[options]',
    `Architecture = ${arch}`,
    `SigLevel = ${keyring === undefined ? 'Never' : 'Required DatabaseOptional'}`,
    ...(options.keyring === undefined ? [] : [`GPGDir = ${options.keyring}`]),
    ...components.flatMap((component) => ['', `[${component}]`, `Server = ${server}`]),
    '',
  ].join('\n');
  return {
    name,
    architecture,
    builder: 'pacstrap',
    needs: [
      { program: 'pacstrap', debianPackage: 'arch-install-scripts' },
      { program: 'pacman', debianPackage: 'pacman-package-manager' },
    ],
    keyring: options.keyring === undefined ? keyring : { paths: [options.keyring], debianPackage: '' },
    files: { 'pacman.conf': configuration },
    steps: [
      {
        command: 'pacstrap',
        args: ['-C', `${WORK}/pacman.conf`, '-G', '-M', ROOT, 'base', ...(options.packages ?? [])],
        title: `${name} by pacstrap`,
      },
      packStep(['./var/cache/pacman/pkg/*']),
    ],
    freshness: components.map(
      (component) => `${server.replaceAll('$repo', component).replaceAll('$arch', arch)}/${component}.db`,
    ),
    notes: keyring === undefined ? ['signatures are not checked'] : [],
  };
}
