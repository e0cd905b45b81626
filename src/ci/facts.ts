/** What preparing a container depends on, read from the host once. */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { detectCgroups } from '../cgroup/detect.ts';
import type { CgroupHost } from '../cgroup/host.ts';
import { readWhoAmI } from '../host/who-am-i.ts';
import { lookUpProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';

export interface DeviceNode {
  readonly exists: boolean;
  /** Last three octal digits. */
  readonly mode: number;
  readonly gid: number;
}

export interface CiFacts {
  readonly uid: number;
  /** `docker`, `podman`, …; undefined on what looks like a machine of somebody's own. */
  readonly container: string | undefined;
  /** Group ids by name, and user ids by name. */
  readonly groups: ReadonlyMap<string, number>;
  readonly users: ReadonlyMap<string, number>;
  /** Members of the group kvm. */
  readonly kvmMembers: readonly string[];
  readonly kvm: DeviceNode;
  readonly tun: DeviceNode;
  /** Misc devices that the kernel has: `kvm`, `tun`. */
  readonly misc: readonly string[];
  readonly ipForward: boolean;
  /** The families of rules that this kernel really takes. */
  readonly iptables: { readonly current: string | undefined; readonly legacy: boolean; readonly nft: boolean };
  readonly programs: ReadonlySet<string>;
  /** Names of running processes. */
  readonly processes: ReadonlySet<string>;
  /** Leftovers below /run that nobody owns. */
  readonly staleFiles: readonly string[];
  readonly cgroups: CgroupHost;
}

const PROGRAMS = [
  'dbus-daemon',
  'virtlogd',
  'virtlockd',
  'libvirtd',
  'iptables',
  'nft',
  'groupadd',
  'usermod',
  'update-alternatives',
  'virsh',
];

export async function readCiFacts(signal?: AbortSignal): Promise<CiFacts> {
  const [groups, users] = [readIds('/etc/group'), readIds('/etc/passwd')];
  const processes = processNames();
  return {
    uid: process.geteuid?.() ?? 0,
    container: readWhoAmI().container,
    groups,
    users,
    kvmMembers: membersOf('/etc/group', 'kvm'),
    kvm: nodeOf('/dev/kvm'),
    tun: nodeOf('/dev/net/tun'),
    misc: (read('/proc/misc').match(/\S+$/gm) ?? []).map(String),
    ipForward: read('/proc/sys/net/ipv4/ip_forward').trim() === '1',
    iptables: await readIptables(signal),
    programs: new Set(PROGRAMS.filter((name) => lookUpProgram(name) !== undefined)),
    processes,
    staleFiles: staleFiles(processes),
    cgroups: detectCgroups(),
  };
}

/** Tried in a network namespace of their own, so that nobody's rules are touched. */
async function readIptables(signal: AbortSignal | undefined): Promise<CiFacts['iptables']> {
  const works = async (command: string, ...args: string[]): Promise<boolean> => {
    if (lookUpProgram(command) === undefined) return false;
    return (await runCommand('unshare', ['-n', command, ...args], { timeout: 5000, signal })).status === 0;
  };
  const [legacy, nft] = await Promise.all([
    works('iptables-legacy', '-t', 'nat', '-L', '-n'),
    works('iptables-nft', '-t', 'nat', '-L', '-n'),
  ]);
  return { current: linkTarget('/etc/alternatives/iptables'), legacy, nft };
}

function staleFiles(processes: ReadonlySet<string>): string[] {
  const files = [
    ['dbus-daemon', '/run/dbus/pid'],
    ['dbus-daemon', '/run/dbus/system_bus_socket'],
    ['virtlogd', '/run/virtlogd.pid'],
    ['virtlogd', '/run/libvirt/virtlogd-sock'],
    ['libvirtd', '/run/libvirtd.pid'],
    ['libvirtd', '/run/libvirt/libvirt-sock'],
    ['libvirtd', '/run/libvirt/libvirt-sock-ro'],
    ['libvirtd', '/run/libvirt/libvirt-admin-sock'],
  ] as const;
  return files.flatMap(([owner, path]) => (!processes.has(owner) && existsSync(path) ? [path] : []));
}

function processNames(): Set<string> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Set(
    pids.filter((pid) => !/\) [ZX] /.test(read(`/proc/${pid}/stat`))).map((pid) => read(`/proc/${pid}/comm`).trim()),
  );
}

function nodeOf(path: string): DeviceNode {
  const stats = statSync(path, { throwIfNoEntry: false });
  return { exists: stats?.isCharacterDevice() === true, mode: (stats?.mode ?? 0) & 0o777, gid: stats?.gid ?? 0 };
}

function readIds(path: string): Map<string, number> {
  const rows = read(path)
    .split('\n')
    .map((line) => line.split(':'));
  return new Map(rows.flatMap(([name, , id]) => (name === undefined || id === undefined ? [] : [[name, Number(id)]])));
}

function membersOf(path: string, group: string): string[] {
  const line = new RegExp(`^${group}:[^:]*:\\d+:(.*)$`, 'm').exec(read(path))?.[1] ?? '';
  return line.split(',').filter((name) => name !== '');
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
