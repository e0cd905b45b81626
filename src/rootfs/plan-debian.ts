/** Debian and its kin: what mmdebstrap, or debootstrap for the oldest, is told. Pure. */
import { type BuildPlan, type BuildRequest, type BuildStep, KEYRING, OUTPUT, packStep, ROOT } from './build-plan.ts';
import type { Keyring } from './releases.ts';

export function planDebian(request: BuildRequest): BuildPlan {
  const { options, release, architecture, name } = request;
  const builder = options.builder ?? (release.needsDebootstrap === true ? 'debootstrap' : 'mmdebstrap');
  const keyring = options.insecure === true ? undefined : keyringOf(request);
  const sources = sourcesOf(request);
  const steps =
    builder === 'mmdebstrap' ? [mmdebstrap(request, sources, keyring)] : debootstrap(request, sources, keyring);
  return {
    name,
    architecture,
    builder,
    needs: [
      { program: builder, debianPackage: builder },
      ...(builder === 'mmdebstrap' || keyring === undefined ? [] : [{ program: 'gpgv', debianPackage: 'gpgv' }]),
    ],
    keyring,
    files: {},
    steps,
    freshness: sources.flatMap(({ url, suite }) => [
      `${url}/dists/${suite}/InRelease`,
      `${url}/dists/${suite}/Release`,
    ]),
    notes: notesOf(request),
  };
}

interface Source {
  readonly url: string;
  readonly suite: string;
}

/** The first is where the system comes from, the others are its updates. A mirror that was given is all there is. */
function sourcesOf({ distribution, release, architecture, options, isArchived }: BuildRequest): Source[] {
  if (options.mirror !== undefined) return [{ url: options.mirror.replace(/\/+$/, ''), suite: release.name }];
  const isMain = distribution.mainArchitectures?.includes(architecture.name) ?? true;
  const ordinary = isMain ? distribution.mirror : (distribution.portsMirror ?? distribution.mirror);
  const url = isArchived ? (distribution.archiveMirror ?? ordinary) : ordinary;
  const security = isArchived ? distribution.archiveSecurityMirror : distribution.securityMirror;
  return [
    { url, suite: release.name },
    ...(release.updates === undefined || (isArchived && distribution.name === 'debian')
      ? []
      : [{ url, suite: release.updates }]),
    // Ubuntu's are on the same mirror.
    ...(release.security === undefined ? [] : [{ url: security ?? url, suite: release.security }]),
  ];
}

function keyringOf({ distribution, options, architecture, isArchived }: BuildRequest): Keyring {
  if (options.keyring !== undefined) return { paths: [options.keyring], debianPackage: '' };
  const isMain = distribution.mainArchitectures?.includes(architecture.name) ?? true;
  if (!isMain && !isArchived && options.mirror === undefined) return distribution.portsKeyring ?? distribution.keyring;
  return isArchived ? (distribution.archiveKeyring ?? distribution.keyring) : distribution.keyring;
}

function mmdebstrap(request: BuildRequest, sources: readonly Source[], keyring: Keyring | undefined): BuildStep {
  const { options, release, architecture, distribution, isArchived } = request;
  const components = (options.components ?? distribution.components).join(' ');
  const brackets = [
    ...(options.insecure === true ? ['trusted=yes'] : []),
    // Those of an archive were valid once.
    ...(isArchived ? ['check-valid-until=no'] : []),
  ];
  const prefix = brackets.length === 0 ? 'deb' : `deb [${brackets.join(' ')}]`;
  const aptOptions = [
    ...(isArchived ? ['Acquire::Check-Valid-Until "false"'] : []),
    ...(release.isWeaklySigned === true && options.insecure !== true ? WEAK_SIGNATURES : []),
  ];
  return {
    command: 'mmdebstrap',
    args: [
      `--mode=${options.mode ?? 'root'}`,
      `--variant=${options.variant ?? 'minbase'}`,
      `--architectures=${architecture.name}`,
      // Ours are looked at with the kernel that will run them, in the namespace where they will run.
      '--skip=check/qemu',
      ...((options.packages ?? []).length === 0 ? [] : [`--include=${options.packages?.join(',')}`]),
      ...(keyring === undefined ? [] : [`--keyring=${KEYRING}`]),
      ...aptOptions.map((option) => `--aptopt=${option}`),
      // Pre-dependencies of the oldest are unpacked in another order; the hook knows by itself whether it is one.
      ...(release.isWeaklySigned === true ? ['--hook-dir=/usr/share/mmdebstrap/hooks/maybe-jessie-or-older'] : []),
      // It copies the host's name; a container's is its own.
      '--customize-hook=rm -f "$1/etc/hostname"',
      release.name,
      OUTPUT,
      // A mirror in a folder of this host cannot be seen from inside the new root: its packages are copied.
      ...sources.map(({ url, suite }) => `${prefix} ${url.replace(/^file:/, 'copy:')} ${suite} ${components}`),
    ],
    title: `${request.name} by mmdebstrap`,
  };
}

/** SHA-1 signatures count, and keys of 1024 bits: apt's own switches. */
const WEAK_SIGNATURES = [
  'APT::Hashes::SHA1::Untrusted "false"',
  'APT::Hashes::SHA1::Weak "true"',
  'APT::Key::Assert-Pubkey-Algo ""',
  'Acquire::AllowWeakRepositories "true"',
];

/** It reads one mirror only: updates are a matter of the root's own apt then. */
function debootstrap(request: BuildRequest, [source]: readonly Source[], keyring: Keyring | undefined): BuildStep[] {
  const { options, release, architecture, distribution } = request;
  return [
    {
      command: 'debootstrap',
      args: [
        `--variant=${options.variant ?? 'minbase'}`,
        `--arch=${architecture.name}`,
        `--components=${(options.components ?? distribution.components).join(',')}`,
        ...((options.packages ?? []).length === 0 ? [] : [`--include=${options.packages?.join(',')}`]),
        ...(keyring === undefined ? ['--no-check-gpg'] : ['--force-check-gpg', `--keyring=${KEYRING}`]),
        release.name,
        ROOT,
        source?.url ?? distribution.mirror,
      ],
      title: `${request.name} by debootstrap`,
    },
    packStep(),
  ];
}

function notesOf({ name, release, options, isArchived }: BuildRequest): string[] {
  return [
    ...(isArchived
      ? [`${name} is archived: nobody updates it any more; keep it away from networks that you do not trust`]
      : []),
    ...(release.isWeaklySigned === true && options.insecure !== true
      ? [
          `${name} is signed as was usual then (SHA-1, short or expired keys): that is checked, and proves less than today's signatures`,
        ]
      : []),
    ...(options.insecure === true
      ? ['signatures are not checked: whoever is between here and the mirror decides what is installed']
      : []),
  ];
}
