/**
 * Finds what a test has left on the host: processes, files, cgroups, network interfaces and mounts. It looks only at what can be
 * told to be ours (by parentage, by a mark in the environment, by name), because other programs come and go meanwhile.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ForeignThings } from './foreign-things.ts';

const MARK = 'NESTLING_TEST_RUN';
/** `/tmp` and a short name, whatever TMPDIR was: sockets below it must keep below 108 bytes. */
const TEMPORARY_PARENT = '/tmp';
/** A killed process takes a moment to end, and nobody may be left to wait on it: asked again until then. */
const ENDING_MS = 3_000;
const ASK_AGAIN_MS = 20;
/** Processes that stay by design: esbuild's service serves the whole life of the program that bundles. */
const STAYING_PROGRAMS = new Set(['esbuild']);
const OUR_CGROUPS = /nestling|libvirt-qemu|libvirt-lxc|^machine(\.slice)?$|\.partition$/;
const OUR_LINKS = /^(vnet|virbr|macvtap|macvlan|tap|nestling|nl-)/;
const OUR_MOUNTS = /nestling|\/nt-/;
/** The ledger of a program that still runs is no leak: it names its owner, and the next start collects it. */
const LEDGER_FILES = /(^|\/)ledger(\/|$)|\.ledger$/;

export interface LeakScopeRoots {
  proc?: string;
  cgroup?: string;
  net?: string;
}

interface HostSnapshot {
  processes: ReadonlyMap<string, string>;
  files: ReadonlySet<string>;
  cgroups: ReadonlySet<string>;
  links: ReadonlySet<string>;
  mounts: ReadonlySet<string>;
}

/**
 * From now until `close`, processes started by this one bear a mark, and TMPDIR is a private directory. One per process at a time.
 */
export class LeakScope {
  readonly #roots: Required<LeakScopeRoots>;
  readonly #mark = `${process.pid.toString(16).padStart(6, '0')}${randomBytes(2).toString('hex').slice(1)}`;
  readonly #temporary = join(TEMPORARY_PARENT, `nt-${this.#mark}`);
  readonly #formerTmpdir = process.env['TMPDIR'];
  readonly #formerMark = process.env[MARK];
  readonly #before: HostSnapshot;
  /** A test file that throws while its tests are collected, or a process that exits, never comes to `close`. */
  readonly #onExit = (): void => this.#removeTemporary();

  constructor({ proc = '/proc', cgroup = '/sys/fs/cgroup', net = '/sys/class/net' }: LeakScopeRoots = {}) {
    this.#roots = { proc, cgroup, net };
    removeAbandoned(proc);
    mkdirSync(this.#temporary, { mode: 0o700 });
    process.once('exit', this.#onExit);
    process.env['TMPDIR'] = this.#temporary;
    process.env[MARK] = this.#mark;
    this.#before = this.#snapshot();
  }

  /** The private TMPDIR. */
  get temporary(): string {
    return this.#temporary;
  }

  /** One line for each thing that is there now and was not at the beginning. */
  findLeaks(): string[] {
    const now = this.#snapshot();
    const fresh = (
      kind: string,
      before: ReadonlySet<string>,
      after: ReadonlySet<string>,
      isForeign: (name: string) => boolean = () => false,
    ): string[] => [...after].filter((name) => !before.has(name) && !isForeign(name)).map((name) => `${kind} ${name}`);
    const processes = [...now.processes].filter(([id]) => !this.#before.processes.has(id));
    const pids = new Set([String(process.pid), ...[...now.processes.keys()].map((id) => id.split(' ')[0] ?? '')]);
    const foreign = new ForeignThings({
      proc: this.#roots.proc,
      ledgerDirs: runtimeDirectories().map((directory) => join(directory, 'ledger')),
      isOurs: (pid) => pids.has(pid),
    });
    return [
      ...processes.map(([, description]) => `process ${description}`),
      ...fresh('file', this.#before.files, now.files, (path) => foreign.includes(path)),
      ...fresh('cgroup', this.#before.cgroups, now.cgroups, (path) => foreign.includesGroup(path)),
      ...fresh('network interface', this.#before.links, now.links, (name) => foreign.includes(name)),
      ...fresh('mount', this.#before.mounts, now.mounts),
    ];
  }

  /**
   * Waits a bounded time for processes to end, removes the private TMPDIR, and throws when something is left. Left processes are
   * killed then: a guest that nobody watches would slow down all later tests.
   */
  async expectNoLeaks(): Promise<void> {
    const deadline = performance.now() + ENDING_MS;
    let leaks = this.findLeaks();
    while (leaks.length > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
      leaks = this.findLeaks();
    }
    this.#killLeakedProcesses();
    this.close();
    if (leaks.length > 0) throw new Error(`the tests of this file left behind:\n  ${leaks.join('\n  ')}`);
  }

  #killLeakedProcesses(): void {
    for (const id of this.#ourProcesses().keys()) {
      if (this.#before.processes.has(id)) continue;
      try {
        process.kill(Number(id.split(' ')[0]), 'SIGKILL');
      } catch (error) {
        // It has ended by itself since it was listed.
        if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
      }
    }
  }

  /** Removes the private TMPDIR and gives the environment back; touches nothing else that was left. */
  close(): void {
    process.off('exit', this.#onExit);
    this.#removeTemporary();
    restoreVariable(MARK, this.#formerMark);
    restoreVariable('TMPDIR', this.#formerTmpdir);
  }

  #removeTemporary(): void {
    removeUnlessMounted(this.#temporary, this.#roots.proc);
  }

  #snapshot(): HostSnapshot {
    const directories = [this.#temporary, ...runtimeDirectories()];
    return {
      processes: this.#ourProcesses(),
      files: new Set(directories.flatMap(listFiles)),
      cgroups: new Set(listDirectories(this.#roots.cgroup).filter((path) => OUR_CGROUPS.test(basename(path)))),
      links: new Set(listNames(this.#roots.net).filter((name) => OUR_LINKS.test(name))),
      mounts: new Set(this.#mountPoints().filter((path) => OUR_MOUNTS.test(path))),
    };
  }

  /** Living descendants of this process, and processes with the mark wherever they are now; by pid and start time. */
  #ourProcesses(): Map<string, string> {
    const all = listNames(this.#roots.proc)
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => this.#readProcess(pid));
    const ours = new Set([String(process.pid)]);
    // Parents may have higher numbers than their children, so once through the list is not enough.
    for (let size = 0; size !== ours.size; ) {
      size = ours.size;
      for (const { pid, parent } of all) if (ours.has(parent)) ours.add(pid);
    }
    const kept = all.filter(({ pid, marked, name }) => {
      return pid !== String(process.pid) && (marked || ours.has(pid)) && !STAYING_PROGRAMS.has(name);
    });
    return new Map(kept.map(({ pid, start, command }) => [`${pid} ${start}`, `${pid}: ${command}`]));
  }

  #readProcess(pid: string): OurProcess[] {
    const read = (file: string): string => readIfThere(join(this.#roots.proc, pid, file));
    const stat = read('stat');
    // The name stands in parentheses and may hold anything, parentheses too.
    const [state = 'Z', parent = '', ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return [];
    const marked = read('environ').split('\0').includes(`${MARK}=${this.#mark}`);
    const command = read('cmdline').replaceAll('\0', ' ').trim().slice(0, 200);
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    return [{ pid, parent, start: rest[17] ?? '', marked, name, command: command === '' ? name : command }];
  }

  #mountPoints(): string[] {
    return mountPoints(this.#roots.proc);
  }
}

function mountPoints(proc: string): string[] {
  const lines = readIfThere(join(proc, 'self/mountinfo')).split('\n');
  return lines.map((line) => line.split(' ')[4] ?? '');
}

/** What is mounted below may be anybody's files. */
function removeUnlessMounted(directory: string, proc: string): void {
  if (mountPoints(proc).some((path) => path === directory || path.startsWith(`${directory}/`))) return;
  rmSync(directory, { recursive: true, force: true });
}

/** Younger ones may be those of a process that this one cannot see. */
const ABANDONED_MS = 10 * 60 * 1000;

/** The folders of test processes that were killed: their names begin with their process's number. */
function removeAbandoned(proc: string): void {
  for (const name of listNames(TEMPORARY_PARENT)) {
    const pid = /^nt-([0-9a-f]{6})[0-9a-f]{3}$/.exec(name)?.[1];
    if (pid === undefined || existsSync(join(proc, String(Number.parseInt(pid, 16))))) continue;
    const directory = join(TEMPORARY_PARENT, name);
    const changedMs = statSync(directory, { throwIfNoEntry: false })?.mtimeMs;
    if (changedMs !== undefined && Date.now() - changedMs > ABANDONED_MS) removeUnlessMounted(directory, proc);
  }
}

interface OurProcess {
  pid: string;
  parent: string;
  start: string;
  marked: boolean;
  name: string;
  command: string;
}

function restoreVariable(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

function runtimeDirectories(): string[] {
  const session = process.env['XDG_RUNTIME_DIR'];
  const own = join(TEMPORARY_PARENT, `nestling-${process.getuid?.() ?? 0}`);
  return ['/run/nestling', '/dev/shm/nestling', own, ...(session === undefined ? [] : [join(session, 'nestling')])];
}

function listFiles(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return listRecursively(directory, false).filter((path) => !LEDGER_FILES.test(path));
}

function listDirectories(directory: string): string[] {
  return listRecursively(directory, true);
}

/** Like `readdir` with `recursive`, but what vanishes meanwhile is passed over, and symbolic links are not followed. */
function listRecursively(directory: string, directoriesOnly: boolean): string[] {
  const found: string[] = [];
  const queue = [directory];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    for (const entry of readEntries(path)) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) queue.push(child);
      if (entry.isDirectory() || !directoriesOnly) found.push(child);
    }
  }
  return found;
}

function readEntries(path: string): { name: string; isDirectory: () => boolean }[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    // Gone since its parent was listed, or not for us to read: either way nothing that this test made.
    return [];
  }
}

function listNames(path: string): string[] {
  return readEntries(path).map(({ name }) => name);
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // The process has ended between listing and reading, or is another user's.
    return '';
  }
}
