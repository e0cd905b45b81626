/**
 * What one run of the benches has on this host: a private directory, guests' images and XML, and the programs under measurement,
 * each of which is ended by its pid whatever happens.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { raceSignal } from '../src/core/abort.ts';
import { type BootSector, copyBootSectorImage } from '../tests/support/guests/boot-sectors.ts';
import { guestXml } from './guest-xml.ts';

/** The command, in the copy of dist/ beside the bundle of the benches (see run.mjs). */
export const NESTLING = fileURLToPath(new URL('dist/cli.cjs', import.meta.url));

/** A guest to be started again and again. */
export interface BenchGuest {
  readonly name: string;
  readonly xml: string;
  readonly xmlPath: string;
  /** Of its `<serial type='pipe'>`. */
  readonly fifoPath: string;
}

export class Workplace implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'nestling-bench-'));
  readonly #children = new Set<ChildProcess>();
  #folders = 0;

  constructor() {
    // Other users search it: libvirt runs QEMU under a user of its own.
    chmodSync(this.dir, 0o711);
    // An interrupt must leave nothing either.
    process.once('exit', () => this[Symbol.dispose]());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
  }

  /** A new empty directory. */
  folder(name: string): string {
    const path = join(this.dir, `${name}-${++this.#folders}`);
    mkdirSync(path, { mode: 0o711 });
    return path;
  }

  async guest(kind: BootSector): Promise<BenchGuest> {
    const dir = this.folder(kind);
    const image = await copyBootSectorImage(kind, dir);
    chmodSync(image, 0o666);
    const guest = { name: `bench-${kind}`, xmlPath: join(dir, 'guest.xml'), fifoPath: join(dir, 'serial') };
    const xml = guestXml({ name: guest.name, image, fifoPath: guest.fifoPath });
    writeFileSync(guest.xmlPath, xml);
    return { ...guest, xml };
  }

  /** Starts a program. */
  start(
    command: string,
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; stdio?: StdioOptions } = {},
  ): Run {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return new Run(child);
  }

  /** Starts the `nestling` command with a cache of its own. */
  nestling(args: readonly string[], cacheDir: string): Run {
    return this.start(NESTLING, args, {
      env: { ...process.env, NESTLING_CACHE_DIR: cacheDir, TMPDIR: this.dir },
    });
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A program under measurement; times by `performance.now()`. */
export class Run {
  readonly startedMs: number;
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly #exited: Promise<number>;

  constructor(child: ChildProcess) {
    // Taken after the fork, which is this program's own time, and before the child has done anything of note.
    this.startedMs = performance.now();
    this.child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.#exited = new Promise((resolve, reject) => {
      child.once('exit', () => resolve(performance.now()));
      child.once('error', reject);
    });
    this.#exited.catch(() => {});
  }

  /** When it ended, if within the time. */
  async exited(signal: AbortSignal): Promise<number> {
    return await raceSignal(this.#exited, signal);
  }

  /** The value, unless the program ends before it is there: then what the program said is the error. */
  async whileRunning<T>(value: Promise<T>): Promise<T> {
    const early = this.#exited.then((): never => {
      throw new Error(
        `${this.child.spawnfile} ended (${this.child.exitCode ?? this.child.signalCode}): ${this.stderr.trim()}`,
      );
    });
    return await Promise.race([value, early]);
  }

  /** Its standard output, when it has ended well. */
  async output(signal: AbortSignal): Promise<string> {
    if (this.child.stdout !== null) await once(this.child.stdout, 'end', { signal });
    await this.exited(signal);
    if (this.child.exitCode !== 0) throw new Error(`${this.child.spawnfile}: ${this.stderr.trim()}`);
    return this.stdout;
  }

  /** Ends it, and waits until it is gone. */
  async end(how: NodeJS.Signals, signal: AbortSignal): Promise<void> {
    this.child.kill(how);
    await this.exited(signal);
  }
}
