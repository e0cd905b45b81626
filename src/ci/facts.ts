/** What preparing a container depends on, read from the host once. */
import { existsSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { detectCgroups } from '../cgroup/detect.ts';
import type { CgroupHost } from '../cgroup/host.ts';
import { socketAnswers } from '../host/socket-answers.ts';
import { readWhoAmI } from '../host/who-am-i.ts';
import { ConfSyntaxError, parseConf } from '../model/conf-file.ts';
import { readFirewallFacts, saveTables, tryFirewalls } from '../network/firewall/facts.ts';
import { lookUpProgram } from '../process/find-program.ts';
import { SERVICES, type Service } from './services.ts';

export interface DeviceNode {
  readonly exists: boolean;
  /** Last three octal digits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface IptablesFacts {
  /** What `iptables` is now; undefined where there is none. */
  readonly family: 'legacy' | 'nft' | undefined;
  /** What Debian's alternatives name: `/usr/sbin/iptables-nft`. */
  readonly alternative: string | undefined;
  readonly alternative6: string | undefined;
  readonly legacy: boolean;
  readonly nft: boolean;
  /** Families that hold tables in this network namespace, each with their names. */
  readonly tables: Readonly<Record<'legacy' | 'nft', readonly string[]>>;
}

export interface CiFacts {
  readonly uid: number;
  /** `docker`, `podman`, …; undefined on what looks like a machine of somebody's own. */
  readonly container: string | undefined;
  /** Group ids by name, and user ids by name. */
  readonly groups: ReadonlyMap<string, number>;
  readonly users: ReadonlyMap<string, number>;
  /** Members of groups, by the group's name. */
  readonly members: ReadonlyMap<string, readonly string[]>;
  readonly kvm: DeviceNode;
  readonly tun: DeviceNode;
  /** Misc devices that the kernel has: `kvm`, `tun`. */
  readonly misc: readonly string[];
  readonly ipForward: boolean;
  /** The families of rules that this kernel really takes. */
  readonly iptables: IptablesFacts;
  readonly programs: ReadonlySet<string>;
  /** Sockets of services behind which somebody answers. */
  readonly answering: ReadonlySet<string>;
  /** What dead services have left below /run, by program. */
  readonly stale: ReadonlyMap<string, readonly string[]>;
  /** `lock_manager` of libvirt's qemu.conf; undefined: none is set. */
  readonly lockManager: string | undefined;
  readonly cgroups: CgroupHost;
}

const PROGRAMS = [
  ...SERVICES.map(({ program }) => program),
  'virsh',
  'groupadd',
  'usermod',
  'useradd',
  'update-alternatives',
];

/** Reads small files, tries the families of firewall rules, asks sockets; changes nothing. */
export async function readCiFacts(signal?: AbortSignal): Promise<CiFacts> {
  const [iptables, answering] = await Promise.all([readIptables(signal), readAnswering()]);
  return {
    uid: process.geteuid?.() ?? 0,
    container: readWhoAmI().container,
    groups: readIds(read('/etc/group')),
    users: readIds(read('/etc/passwd')),
    members: readMembers(read('/etc/group')),
    kvm: nodeOf('/dev/kvm'),
    tun: nodeOf('/dev/net/tun'),
    misc: (read('/proc/misc').match(/\S+$/gm) ?? []).map(String),
    ipForward: read('/proc/sys/net/ipv4/ip_forward').trim() === '1',
    iptables,
    programs: new Set(PROGRAMS.filter((name) => lookUpProgram(name) !== undefined)),
    answering,
    stale: new Map(SERVICES.map((service) => [service.program, staleFiles(service, answering)])),
    lockManager: readLockManager(read('/etc/libvirt/qemu.conf')),
    cgroups: detectCgroups(),
  };
}

async function readIptables(signal: AbortSignal | undefined): Promise<IptablesFacts> {
  const facts = await readFirewallFacts({ signal });
  const [trials, saved] = await Promise.all([
    tryFirewalls(facts, signal),
    // Lists what there is; makes no table, unlike the legacy one, whose tables the kernel names.
    facts.commands.nft === undefined ? '' : saveTables(facts.commands.nft, 'ip', signal),
  ]);
  return {
    family: facts.iptables,
    alternative: linkTarget('/etc/alternatives/iptables'),
    alternative6: linkTarget('/etc/alternatives/ip6tables'),
    legacy: trials.legacy === true,
    nft: trials.iptablesNft === true,
    tables: { legacy: facts.legacyTables, nft: tablesWithRules(saved) },
  };
}

/** Names of the tables that hold rules, in what `iptables-save` prints. */
export function tablesWithRules(saved: string): string[] {
  return saved
    .split(/^\*/m)
    .filter((part) => /^-A /m.test(part))
    .flatMap((part) => /^\S+/.exec(part) ?? []);
}

/** Of libvirt's own configuration, which its own daemons refuse when it is wrong: then nothing is known. */
export function readLockManager(text: string): string | undefined {
  try {
    const value = parseConf(text).findLast(({ key }) => key === 'lock_manager')?.value;
    return typeof value === 'string' ? value : undefined;
  } catch (error) {
    if (error instanceof ConfSyntaxError) return undefined;
    throw error;
  }
}

async function readAnswering(): Promise<Set<string>> {
  const sockets = SERVICES.map(({ socket }) => socket);
  const answers = await Promise.all(sockets.map(socketAnswers));
  return new Set(sockets.filter((_, index) => answers[index] === true));
}

/** Files without a living owner: sockets behind which nobody answers, and the number of a process that is gone or somebody else. */
function staleFiles(
  { program, socket, leftovers, pidFile }: Service,
  answering: ReadonlySet<string>,
): readonly string[] {
  if (answering.has(socket)) return [];
  const pid = read(pidFile).trim();
  // A daemon that is just starting, or hangs, keeps its files.
  if (/^\d+$/.test(pid) && read(`/proc/${pid}/comm`).trim() === program.slice(0, 15)) return [];
  return [pidFile, socket, ...leftovers].filter((path) => existsSync(path));
}

function nodeOf(path: string): DeviceNode {
  const stats = statSync(path, { throwIfNoEntry: false });
  return {
    exists: stats?.isCharacterDevice() === true,
    mode: (stats?.mode ?? 0) & 0o777,
    uid: stats?.uid ?? 0,
    gid: stats?.gid ?? 0,
  };
}

/** Of /etc/passwd or /etc/group. */
function readIds(text: string): Map<string, number> {
  return new Map(rowsOf(text).flatMap(([name, , id]) => (name && id ? [[name, Number(id)]] : [])));
}

function readMembers(text: string): Map<string, readonly string[]> {
  return new Map(
    rowsOf(text).map(([name = '', , , members = '']) => [name, members.split(',').filter((member) => member !== '')]),
  );
}

function rowsOf(text: string): string[][] {
  return text.split('\n').map((line) => line.split(':'));
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** What is not there, or has just ended, says nothing. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
