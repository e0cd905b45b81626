/** Collects what a bug report needs into one folder: every item bounded in size and time, secrets taken out, failures noted and passed over. */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { detectCgroups } from '../cgroup/detect.ts';
import { listPartitions } from '../cgroup/partition.ts';
import { findStaleGroups } from '../cgroup/stale.ts';
import { realHost } from '../doctor/finding.ts';
import { checkHost } from '../doctor/host-checks.ts';
import { runCommand } from '../process/run-command.ts';

export interface DebugOptions {
  readonly folder: string;
  /** A definition, and what to call it. */
  readonly guest?: { readonly xml: string; readonly name: string } | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Of one file; the end is kept. */
const MAX_BYTES = 256 * 1024;
const COMMAND_TIMEOUT_MS = 10_000;
const SECRET_NAME = /TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIAL|AUTH/i;

/** File name, command, and what it tells. */
const COMMANDS: readonly (readonly [file: string, command: readonly string[], what: string])[] = [
  [
    'processes.txt',
    ['ps', '-eo', 'pid,ppid,user,stat,cgroupns,pidns,etimes,rss,args', '--forest'],
    'processes as a tree, with their namespaces',
  ],
  ['links.txt', ['ip', '-details', 'address'], 'network interfaces'],
  ['routes.txt', ['ip', 'route'], 'routes'],
  ['nft.txt', ['nft', 'list', 'ruleset'], 'firewall rules (nft)'],
  ['iptables.txt', ['iptables-save'], 'firewall rules (iptables)'],
  ['dmesg.txt', ['dmesg', '--ctime'], "the kernel's messages"],
  ['lscpu.txt', ['lscpu'], 'processor'],
  ['df.txt', ['df', '-h'], 'space'],
  ['qemu.txt', ['qemu-system-x86_64', '--version'], "QEMU's version"],
  [
    'packages.txt',
    [
      'dpkg-query',
      '-W',
      'qemu*',
      'libvirt*',
      'ovmf',
      'swtpm*',
      'virtiofsd',
      'passt',
      'crun',
      'dnsmasq*',
      'iptables',
      'nftables',
    ],
    'installed packages',
  ],
];

const FILES: readonly (readonly [file: string, path: string, what: string])[] = [
  ['mountinfo.txt', '/proc/self/mountinfo', 'mounts'],
  ['self-cgroup.txt', '/proc/self/cgroup', 'the cgroups of this program'],
  ['cgroups.txt', '/proc/cgroups', "the kernel's controllers"],
  ['limits.txt', '/proc/self/limits', 'limits'],
  ['status.txt', '/proc/self/status', 'capabilities and filters'],
  ['meminfo.txt', '/proc/meminfo', 'memory'],
  ['modules.txt', '/proc/modules', 'kernel modules'],
  ['misc.txt', '/proc/misc', 'misc devices (kvm, tun)'],
  ['cmdline.txt', '/proc/cmdline', 'kernel command line'],
  ['os-release.txt', '/etc/os-release', 'distribution'],
];

const LOG_FOLDERS = ['/var/log/libvirt', '/var/log/libvirt/qemu', '/var/log/libvirt/lxc', '/var/log/nestling'];

/** @returns lines that say what could not be had */
export async function collectDebug({ folder, guest, signal }: DebugOptions): Promise<string[]> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const collector = new Collector(folder);
  await Promise.all(
    COMMANDS.map(async ([file, [command = '', ...args], what]) => {
      const { stdout, stderr, error } = await runCommand(command, args, {
        timeout: COMMAND_TIMEOUT_MS,
        maxBuffer: 64 * 1024 * 1024,
        signal,
      });
      if (stdout === '' && error !== undefined) collector.miss(file, stderr.trim().split('\n')[0] ?? error.message);
      else collector.add(file, what, stdout);
    }),
  );
  for (const [file, path, what] of FILES) collector.try(file, what, () => readFileSync(path, 'utf8'));
  collector.add('environment.txt', 'environment, without secrets', redactEnvironment(process.env));
  collector.try('devices.txt', 'device nodes', () => listDevices());
  collector.try('cgroup-tree.txt', 'cgroups with their key files and processes', () => cgroupTree());
  collector.try('cgroup-host.json', 'what Nestling reads of them', () =>
    toJson({ host: detectCgroups(), partitions: listPartitions(), stale: findStaleGroups() }),
  );
  collector.add('doctor.json', "the doctor's findings", toJson(await checkHost(realHost(signal))));
  for (const path of LOG_FOLDERS.flatMap(filesIn)) {
    collector.try(`logs${path.replaceAll('/', '-')}`, `end of ${path}`, () => readEnd(path));
  }
  if (guest !== undefined)
    collector.add('guest.xml', `the definition ${guest.name}, without passwords`, redactXml(guest.xml));
  collector.finish();
  return collector.missing;
}

class Collector {
  readonly missing: string[] = [];
  readonly #folder: string;
  readonly #index: string[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  add(file: string, what: string, content: string): void {
    const bytes = Buffer.from(content);
    const kept =
      bytes.length > MAX_BYTES
        ? Buffer.concat([
            Buffer.from(`(the first ${bytes.length - MAX_BYTES} bytes are left out)\n`),
            bytes.subarray(-MAX_BYTES),
          ])
        : bytes;
    writeFileSync(join(this.#folder, file), kept, { mode: 0o600 });
    this.#index.push(`${file.padEnd(24)} ${what}`);
  }

  try(file: string, what: string, read: () => string): void {
    try {
      this.add(file, what, read());
    } catch (error) {
      this.miss(file, error instanceof Error ? error.message : String(error));
    }
  }

  miss(file: string, why: string): void {
    this.missing.push(`${file}: ${why}`);
  }

  finish(): void {
    const { missing } = this;
    if (missing.length > 0) this.add('errors.txt', 'what could not be had', `${missing.join('\n')}\n`);
    const index = this.#index.toSorted().join('\n');
    writeFileSync(
      join(this.#folder, 'README.txt'),
      `Collected by nestling ci debug for a bug report. Look through it before you send it.\n\n${index}\n`,
      { mode: 0o600 },
    );
  }
}

/** Values of variables whose names sound like secrets are left out. */
export function redactEnvironment(env: NodeJS.ProcessEnv): string {
  return Object.entries(env)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${SECRET_NAME.test(name) ? '(left out)' : value}\n`)
    .join('');
}

/** Passwords of displays, and secrets of qemu:commandline, go. */
export function redactXml(xml: string): string {
  return xml
    .replace(/(\b(?:passwd|password|secret|auth)\s*=\s*)("[^"]*"|'[^']*')/gi, "$1'(left out)'")
    .replace(/(<cookie\b[^>]*>)[^<]*/g, '$1(left out)')
    .replace(
      /(<qemu:(?:arg|env)\b[^>]*value=)("[^"]*(?:secret|password)[^"]*"|'[^']*(?:secret|password)[^']*')/gi,
      "$1'(left out)'",
    );
}

const KEY_FILES = [
  'cgroup.type',
  'cgroup.controllers',
  'cgroup.subtree_control',
  'cgroup.procs',
  'memory.max',
  'memory.limit_in_bytes',
  'cpu.max',
  'pids.max',
];
const MAX_GROUPS = 2000;

function cgroupTree(): string {
  const lines: string[] = [];
  const walk = (directory: string): void => {
    if (lines.length > MAX_GROUPS) return;
    const facts = KEY_FILES.flatMap((file) => {
      try {
        const text = readFileSync(join(directory, file), 'utf8').trim().replaceAll('\n', ' ');
        return text === '' ? [] : [`${file}=${text}`];
      } catch {
        // Not in this hierarchy, or not in this kind of group.
        return [];
      }
    });
    lines.push(`${directory}  ${facts.join('  ')}`);
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isDirectory()) walk(join(directory, entry.name));
  };
  for (const { mountPoint } of detectCgroups().hierarchies) walk(mountPoint);
  return `${lines.join('\n')}\n`;
}

function listDevices(): string {
  return [
    '/dev/kvm',
    '/dev/net/tun',
    '/dev/vhost-net',
    '/dev/vhost-vsock',
    '/dev/fuse',
    '/dev/loop-control',
    '/dev/null',
    '/dev/urandom',
  ]
    .map((path) => {
      const stats = statSync(path, { throwIfNoEntry: false });
      return stats === undefined
        ? `${path}: missing\n`
        : `${path}: mode ${(stats.mode & 0o7777).toString(8)}, owner ${stats.uid}:${stats.gid}\n`;
    })
    .join('');
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [join(folder, entry.name)] : [],
    );
  } catch {
    // Whoever has no libvirt has no such folder.
    return [];
  }
}

function readEnd(path: string): string {
  const { size } = statSync(path);
  const buffer = Buffer.alloc(Math.min(size, MAX_BYTES));
  const fd = openSync(path, 'r');
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, size - buffer.length));
  } finally {
    closeSync(fd);
  }
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, (_key, member: unknown) => (typeof member === 'bigint' ? String(member) : member), 2)}\n`;
}
