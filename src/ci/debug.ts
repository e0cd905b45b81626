/** Collects what a bug report needs into one folder: every item bounded in size and time, secrets taken out, failures noted and passed over. */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { detectCgroups } from '../cgroup/detect.ts';
import { listPartitions } from '../cgroup/partition.ts';
import { findStaleGroups } from '../cgroup/stale.ts';
import { runtimeDirCandidates } from '../core/fs-runtime-dir.ts';
import { realHost } from '../doctor/finding.ts';
import { checkHost } from '../doctor/host-checks.ts';
import { runCommand } from '../process/run-command.ts';
import { VERSION } from '../version.ts';
import { formatCgroupTree } from './cgroup-tree.ts';
import { COMMANDS, DEVICES, FILES, LOG_FOLDERS, VERSIONS } from './debug-items.ts';
import { formatProcessTree, readNamespaces, readProcesses } from './process-tree.ts';
import { redactEnvironment, redactText, redactXml } from './redact.ts';

export interface DebugOptions {
  readonly folder: string;
  /** A definition, and what to call it. */
  readonly guest?: { readonly xml: string; readonly name: string } | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Of one file; the end is kept. */
const MAX_BYTES = 256 * 1024;
/** The newest ones. */
const MAX_LOGS = 30;
const COMMAND_TIMEOUT_MS = 10_000;

/** @returns lines that say what could not be had */
export async function collectDebug({ folder, guest, signal }: DebugOptions): Promise<string[]> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const collector = new Collector(folder);
  await Promise.all([addVersions(collector, signal), addCommands(collector, signal), addDoctor(collector, signal)]);
  for (const [file, path, what] of FILES) collector.try(file, what, () => redactText(readFileSync(path, 'utf8')));
  collector.add('environment.txt', 'environment, without secrets', redactEnvironment(process.env));
  collector.try('devices.txt', 'device nodes', () => DEVICES.map(describeDevice).join(''));
  collector.try('processes.txt', 'processes as a tree, with their cgroups and namespaces', () =>
    redactText(formatProcessTree(readProcesses(), readNamespaces('/proc/self'))),
  );
  const mountPoints = detectCgroups().hierarchies.map(({ mountPoint }) => mountPoint);
  collector.try('cgroup-tree.txt', 'cgroups with their key files and processes', () => formatCgroupTree(mountPoints));
  collector.try('cgroup-host.json', 'what Nestling reads of them', () =>
    toJson({ host: detectCgroups(), partitions: listPartitions(), stale: findStaleGroups() }),
  );
  for (const path of newest(logFolders().flatMap(filesIn)))
    collector.try(`logs${path.replaceAll('/', '-')}`, `end of ${path}`, () => redactText(readEnd(path)));
  if (guest !== undefined) await addGuest(collector, guest, signal);
  collector.finish();
  return collector.missing;
}

/** One line for each program: its version, or that it is not there. */
async function addVersions(collector: Collector, signal: AbortSignal | undefined): Promise<void> {
  const lines = await Promise.all(
    VERSIONS.map(async ([command, ...args]) => {
      const { stdout, stderr, status } = await runCommand(command, args, { timeout: COMMAND_TIMEOUT_MS, signal });
      const line = `${stdout}${stderr}`.trim().split('\n')[0] ?? '';
      return `${command}: ${status === undefined && line === '' ? 'not there' : line}\n`;
    }),
  );
  const own = `nestling: ${VERSION}\nnode: ${process.version} ${process.arch}\nkernel: ${release()}\n`;
  collector.add('versions.txt', 'versions', `${own}${lines.join('')}`);
}

async function addCommands(collector: Collector, signal: AbortSignal | undefined): Promise<void> {
  await Promise.all(
    COMMANDS.map(async ([file, [command, ...args], what]) => {
      const options = { timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: 64 << 20, signal } as const;
      const { stdout, stderr, error } = await runCommand(command, args, options);
      if (stdout !== '') collector.add(file, what, redactText(stdout));
      else if (error !== undefined) collector.miss(file, stderr.trim().split('\n')[0] || error.message);
      else collector.add(file, what, '(empty)\n');
    }),
  );
}

/** What `nestling doctor --json` says, the verdict on KVM with it. */
async function addDoctor(collector: Collector, signal: AbortSignal | undefined): Promise<void> {
  collector.add('doctor.json', "the doctor's findings", toJson({ findings: await checkHost(realHost(signal)) }));
}

/** The definition and how QEMU would be started for it, or why it cannot be. */
async function addGuest(
  collector: Collector,
  { xml, name }: { readonly xml: string; readonly name: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  collector.add('guest.xml', `the definition ${name}, without passwords`, redactXml(xml));
  const { nativeCommand } = await import('../driver/qemu/runtime/native-command.ts');
  try {
    const plan = await nativeCommand(xml, { fileName: name, signal });
    collector.add('guest-plan.txt', "QEMU's command line for it", redactText(plan));
  } catch (error) {
    signal?.throwIfAborted();
    collector.miss('guest-plan.txt', error instanceof Error ? error.message : String(error));
  }
}

class Collector {
  readonly missing: string[] = [];
  readonly #folder: string;
  readonly #index: string[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  add(file: string, what: string, content: string): void {
    writeFileSync(join(this.#folder, file), keepEnd(content), { mode: 0o600 });
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
    if (missing.length > 0) this.add('errors.txt', 'what could not be had', `${missing.toSorted().join('\n')}\n`);
    const index = this.#index.toSorted().join('\n');
    writeFileSync(
      join(this.#folder, 'README.txt'),
      `Collected by nestling ci debug for a bug report. Look through it before you send it.\n\n${index}\n`,
      { mode: 0o600 },
    );
  }
}

function keepEnd(content: string): Uint8Array {
  const bytes = Buffer.from(content);
  if (bytes.length <= MAX_BYTES) return bytes;
  const note = Buffer.from(`(the first ${bytes.length - MAX_BYTES} bytes are left out)\n`);
  return Buffer.concat([note, bytes.subarray(-MAX_BYTES)]);
}

function describeDevice(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return `${path}: missing\n`;
  let opens = 'opens';
  try {
    closeSync(openSync(path, 'r+'));
  } catch (error) {
    opens = `does not open: ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`;
  }
  const number = `${stats.rdev >> 8}:${stats.rdev & 0xff}`;
  return `${path}: ${number}, mode ${(stats.mode & 0o7777).toString(8)}, owner ${stats.uid}:${stats.gid}, ${opens}\n`;
}

/** libvirt's and ours, the system's and this user's. */
function logFolders(): string[] {
  const { env } = process;
  const cache = env['XDG_CACHE_HOME'] ?? join(env['HOME'] ?? '/root', '.cache');
  const runtime = runtimeDirCandidates({ uid: process.getuid?.() ?? 0, xdgRuntimeDir: env['XDG_RUNTIME_DIR'] });
  return [...LOG_FOLDERS, `${cache}/libvirt/qemu/log`, ...runtime];
}

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.flatMap((entry) =>
      entry.isFile() && /\.(log|json)$/.test(entry.name) ? [join(folder, entry.name)] : [],
    );
  } catch {
    // Whoever has no libvirt has no such folder.
    return [];
  }
}

function newest(paths: readonly string[]): string[] {
  const timed = paths.map((path) => ({ path, time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }));
  return timed
    .toSorted((a, b) => b.time - a.time)
    .slice(0, MAX_LOGS)
    .map(({ path }) => path);
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
