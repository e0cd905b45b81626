/**
 * What is changed in a root before its first boot: wishes and the root's own texts become files to write and commands to run inside. Pure;
 * `provision.ts` carries it out. Doing it twice changes nothing the second time.
 */
import { ErrorCode } from '../core/errors.ts';
import type { GroupSpec, UserSpec } from './accounts.ts';
import { failed } from './image-store.ts';

export interface ProvisionRequest {
  readonly groups?: readonly GroupSpec[] | undefined;
  /** Their shell is bash where the root has it, else sh. */
  readonly users?: readonly (Omit<UserSpec, 'shell'> & { readonly shell?: string | undefined })[] | undefined;
  /** Users' homes come from elsewhere (a shared one that is mounted): they are not made. */
  readonly noHome?: boolean | undefined;
  /** Lines for `~/.ssh/authorized_keys`; of all given users, or of root when there are none. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** Users that may do everything without a password. */
  readonly sudo?: readonly string[] | undefined;
  /** Patterns of variables that sshd takes from clients; `*`: all. */
  readonly acceptEnv?: readonly string[] | undefined;
  /** The consoles' and the network's banner tell the addresses. */
  readonly issueBanner?: boolean | undefined;
  /** Names of its interfaces for that; default eth0 to eth3. */
  readonly interfaces?: readonly string[] | undefined;
  readonly hostname?: string | undefined;
  readonly nameservers?: readonly string[] | undefined;
  /** Installed by the root's own manager. */
  readonly packages?: readonly string[] | undefined;
}

/** What the planner needs to know of a root. */
export interface RootFacts {
  /** Of the first that is there of bash, sh. */
  readonly shell: string;
  readonly sshdConfig: string | undefined;
  readonly issue: string | undefined;
  readonly issueNet: string | undefined;
  readonly hosts: string | undefined;
  /** Folders and programs that decide how things are done. */
  readonly has: Readonly<Record<RootFeature, boolean>>;
}

/** Path by name: whether it is in the root. */
export const ROOT_FEATURES = {
  agetty: ['/sbin/agetty', '/usr/sbin/agetty'],
  systemd: ['/etc/systemd/system'],
  ifUp: ['/etc/network/if-up.d'],
  sudoers: ['/etc/sudoers.d'],
  apt: ['/usr/bin/apt-get'],
  dnf: ['/usr/bin/dnf'],
  yum: ['/usr/bin/yum'],
  pacman: ['/usr/bin/pacman'],
  apk: ['/sbin/apk'],
  zypper: ['/usr/bin/zypper'],
} as const;
export type RootFeature = keyof typeof ROOT_FEATURES;

export type ProvisionEdit =
  | { readonly kind: 'file'; readonly path: string; readonly text: string; readonly mode: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

/** @returns the commands that install packages, run in the root one after the other. @throws VirtError */
export function planPackages(packages: readonly string[], has: RootFacts['has']): string[][] {
  if (packages.length === 0) return [];
  for (const name of packages) {
    if (!/^[A-Za-z0-9][\w.+:~/@*-]*$/.test(name))
      throw failed(`'${name}' is no name of a package`, ErrorCode.INVALID_ARG);
  }
  const manager = (['apt', 'dnf', 'yum', 'pacman', 'apk', 'zypper'] as const).find((name) => has[name]);
  if (manager === undefined)
    throw failed(
      'this root has no package manager that is known (apt, dnf, yum, pacman, apk, zypper); build it with --packages instead',
      ErrorCode.CONFIG_UNSUPPORTED,
    );
  return MANAGERS[manager].map((words) => (words.at(-1) === '' ? [...words.slice(0, -1), ...packages] : [...words]));
}

/** An empty last word stands for the packages. */
const MANAGERS: Readonly<Record<'apt' | 'dnf' | 'yum' | 'pacman' | 'apk' | 'zypper', readonly (readonly string[])[]>> =
  {
    apt: [
      ['apt-get', '-q', 'update'],
      ['apt-get', '-q', '-y', '--no-install-recommends', 'install', ''],
      ['apt-get', 'clean'],
    ],
    dnf: [['dnf', '-y', '--setopt=install_weak_deps=False', 'install', '']],
    yum: [['yum', '-y', 'install', '']],
    pacman: [['pacman', '-Sy', '--noconfirm', '--needed', '']],
    apk: [['apk', 'add', '']],
    zypper: [['zypper', '--non-interactive', 'install', '']],
  };

/** Everything but packages, accounts and homes. @returns what to write, and what a person should know */
export function planEdits(request: ProvisionRequest, facts: RootFacts): { edits: ProvisionEdit[]; notes: string[] } {
  const notes: string[] = [];
  const edits = [
    ...acceptEnvEdits(request, facts, notes),
    ...issueEdits(request, facts, notes),
    ...sudoEdits(request, facts, notes),
    ...hostnameEdits(request, facts),
    ...resolverEdits(request),
  ];
  return { edits, notes };
}

function acceptEnvEdits(
  { acceptEnv = [] }: ProvisionRequest,
  { sshdConfig }: RootFacts,
  notes: string[],
): ProvisionEdit[] {
  if (acceptEnv.length === 0) return [];
  for (const pattern of acceptEnv) {
    if (!/^[A-Za-z0-9_*?]+$/.test(pattern))
      throw failed(`AcceptEnv takes names of variables and patterns, not '${pattern}'`, ErrorCode.INVALID_ARG);
  }
  if (sshdConfig === undefined) {
    notes.push('there is no /etc/ssh/sshd_config: AcceptEnv is not set; --packages openssh-server brings it');
    return [];
  }
  const text = withAcceptEnv(sshdConfig, acceptEnv);
  return text === sshdConfig ? [] : [{ kind: 'file', path: '/etc/ssh/sshd_config', text, mode: 0o644 }];
}

/** In front of the first Match: behind it, it would hold for some connections only. Patterns that are there already are not said again. */
export function withAcceptEnv(config: string, patterns: readonly string[]): string {
  const lines = config.split('\n');
  const match = lines.findIndex((line) => /^\s*Match\s/i.test(line));
  const general = match < 0 ? lines : lines.slice(0, match);
  const there = new Set(general.flatMap((line) => /^\s*AcceptEnv\s+(.*)$/i.exec(line)?.[1]?.trim().split(/\s+/) ?? []));
  const missing = patterns.filter((pattern) => !there.has(pattern));
  if (missing.length === 0) return config;
  const line = `AcceptEnv ${missing.join(' ')}`;
  if (match >= 0) return [...general, line, ...lines.slice(match)].join('\n');
  return `${config}${config === '' || config.endsWith('\n') ? '' : '\n'}${line}\n`;
}

const ADDRESS_LINE = /^.*Current IP\(s\):.*$/m;
const SCRIPT = '/usr/local/sbin/nestling-issue';

/**
 * agetty puts the addresses in by itself (\4{eth0}); other gettys, and what shows issue.net, print the file as it is: there a script
 * writes them when the network comes up.
 */
function issueEdits(
  { issueBanner, interfaces = ['eth0', 'eth1', 'eth2', 'eth3'] }: ProvisionRequest,
  facts: RootFacts,
  notes: string[],
): ProvisionEdit[] {
  if (issueBanner !== true) return [];
  for (const name of interfaces) {
    if (!/^[\w.-]{1,15}$/.test(name)) throw failed(`'${name}' is no name of an interface`, ErrorCode.INVALID_ARG);
  }
  const escapes = `\\S{NAME} \\S{VERSION_ID} \\n \\l ; Current IP(s): ${interfaces.map((name) => `\\4{${name}} \\6{${name}}`).join(' ')}`;
  const files = facts.has.agetty ? ['/etc/issue.net'] : ['/etc/issue', '/etc/issue.net'];
  const edits: ProvisionEdit[] = [
    ...(facts.has.agetty
      ? [issueFile('/etc/issue', facts.issue, escapes)]
      : [issueFile('/etc/issue', facts.issue, 'Current IP(s):')]),
    issueFile('/etc/issue.net', facts.issueNet, 'Current IP(s):'),
    { kind: 'file', path: SCRIPT, text: issueScript(files), mode: 0o755 },
  ];
  if (facts.has.systemd) {
    edits.push(
      { kind: 'file', path: '/etc/systemd/system/nestling-issue.service', text: ISSUE_UNIT, mode: 0o644 },
      {
        kind: 'link',
        path: '/etc/systemd/system/multi-user.target.wants/nestling-issue.service',
        target: '/etc/systemd/system/nestling-issue.service',
      },
    );
  }
  if (facts.has.ifUp) edits.push({ kind: 'link', path: '/etc/network/if-up.d/nestling-issue', target: SCRIPT });
  if (!facts.has.systemd && !facts.has.ifUp) {
    notes.push(`nothing in this root starts ${SCRIPT} when the network comes up: call it from its start scripts`);
  }
  return edits;
}

function issueFile(path: string, text: string | undefined, line: string): ProvisionEdit {
  const kept = (text ?? '').replace(ADDRESS_LINE, '').trimEnd();
  return { kind: 'file', path, text: `${kept === '' ? '' : `${kept}\n`}${line}\n`, mode: 0o644 };
}

/** For any shell, with whichever of ip, ifconfig and hostname there is. */
function issueScript(files: readonly string[]): string {
  return `#!/bin/sh
# Writes this system's addresses to ${files.join(' and ')}.
addresses=$( { ip -o addr show scope global 2>/dev/null || ifconfig 2>/dev/null; } |
  sed -n 's/.*inet6\\{0,1\\} \\(addr: *\\)\\{0,1\\}\\([0-9a-f.:]*\\).*/\\2/p' | grep -v -e '^127\\.' -e '^::1$' -e '^fe80' | tr '\\n' ' ')
[ -n "$addresses" ] || addresses=$(hostname -I 2>/dev/null)
for file in ${files.join(' ')}; do
  { grep -v 'Current IP(s):' "$file"; echo "Current IP(s): $addresses"; } >"$file.new" 2>/dev/null && mv -f "$file.new" "$file"
done
exit 0
`;
}

const ISSUE_UNIT = `[Unit]
Description=Addresses in the banners of the network
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=${SCRIPT}

[Install]
WantedBy=multi-user.target
`;

function sudoEdits({ sudo = [] }: ProvisionRequest, { has }: RootFacts, notes: string[]): ProvisionEdit[] {
  if (sudo.length > 0 && !has.sudoers)
    notes.push('there is no sudo in this root: its rules wait for it; --packages sudo brings it');
  return sudo.map((name) => {
    if (!/^[a-z_][\w-]*$/i.test(name)) throw failed(`'${name}' is no name of a user`, ErrorCode.INVALID_ARG);
    return {
      kind: 'file',
      path: `/etc/sudoers.d/nestling-${name}`,
      text: `${name} ALL=(ALL) NOPASSWD: ALL\n`,
      mode: 0o440,
    };
  });
}

function hostnameEdits({ hostname }: ProvisionRequest, { hosts }: RootFacts): ProvisionEdit[] {
  if (hostname === undefined) return [];
  if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(hostname))
    throw failed(`'${hostname}' is no host name`, ErrorCode.INVALID_ARG);
  const short = hostname.split('.')[0] ?? hostname;
  const names = short === hostname ? hostname : `${hostname} ${short}`;
  // Debian's way: the own name has an address even without a network.
  const kept = (hosts ?? '127.0.0.1\tlocalhost\n').split('\n').filter((line) => !/^127\.0\.1\.1\s/.test(line));
  const text = `${kept.join('\n').trimEnd()}\n127.0.1.1\t${names}\n`;
  return [
    { kind: 'file', path: '/etc/hostname', text: `${hostname}\n`, mode: 0o644 },
    { kind: 'file', path: '/etc/hosts', text, mode: 0o644 },
  ];
}

function resolverEdits({ nameservers = [] }: ProvisionRequest): ProvisionEdit[] {
  if (nameservers.length === 0) return [];
  for (const address of nameservers) {
    if (!/^[0-9a-f.:]+$/i.test(address))
      throw failed(`'${address}' is no address of a name server`, ErrorCode.INVALID_ARG);
  }
  const text = nameservers.map((address) => `nameserver ${address}\n`).join('');
  return [{ kind: 'file', path: '/etc/resolv.conf', text, mode: 0o644 }];
}
