/**
 * One network's dnsmasq: started with the planned configuration, ready when it says so, ended with the network. In an embedded connection it is
 * a child that dies with us; a daemon's outlives it and is found again by its pid.
 */
import { closeSync, openSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { Ledger, LedgerEntry } from '../../core/ledger.ts';
import { LogSource } from '../../core/log-source.ts';
import type { ChildHandle } from '../../process/child-handle.ts';
import { ForeignProcess } from '../../process/foreign-process.ts';
import { isAlive, type ProcessIdentity, readIdentity } from '../../process/proc.ts';
import { spawnChild } from '../../process/spawn.ts';

const log = new LogSource('network.bridge_driver');

/** dnsmasq on an idle machine is ready after 10 ms. */
const READY_MS = 15_000;
/** It has nothing to save but what is in the lease file already. */
const GRACE_MS = 2_000;

export interface DnsmasqFiles {
  readonly conf: string;
  readonly leases: string;
  readonly pid: string;
  /** What it says. */
  readonly log: string;
}

export interface DnsmasqOptions {
  readonly network: string;
  readonly conf: string;
  readonly files: DnsmasqFiles;
  readonly ledger: Pick<Ledger, 'record'>;
  /** It ends with this process. */
  readonly dieWithParent: boolean;
  /** It ended although nobody asked it to. */
  readonly onEnd: (why: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A running dnsmasq. Disposal ends it and removes its files, but for the leases. */
export class DnsmasqProcess implements AsyncDisposable {
  readonly identity: ProcessIdentity;
  readonly #files: DnsmasqFiles;
  readonly #entries: readonly LedgerEntry[];
  readonly #child: Pick<ChildHandle, 'terminate' | 'release'>;
  #watcher: ChildHandle | undefined;
  #isEnding = false;

  private constructor(
    child: Pick<ChildHandle, 'identity' | 'terminate' | 'release' | 'exited'>,
    files: DnsmasqFiles,
    entries: readonly LedgerEntry[],
    onEnd: DnsmasqOptions['onEnd'],
  ) {
    this.identity = child.identity;
    this.#child = child;
    this.#files = files;
    this.#entries = entries;
    void child.exited.then(async ({ exitCode, signal }) => {
      await this.#watcher?.[Symbol.asyncDispose]();
      if (!this.#isEnding) onEnd(`dnsmasq ended with ${signal ?? `status ${exitCode}`}: ${lastWords(files.log)}`);
    });
  }

  /** @returns when it answers. @throws VirtError with its last words */
  static async start(options: DnsmasqOptions): Promise<DnsmasqProcess> {
    const { files, ledger, conf, dieWithParent, signal } = options;
    const entries = [files.conf, files.pid, files.log].map((path) => ledger.record('file', { path }));
    writeFileSync(files.conf, conf, { mode: 0o644 });
    const logFd = openSync(files.log, 'w', 0o600);
    let child: ChildHandle;
    try {
      child = await spawnChild(
        {
          command: 'dnsmasq',
          args: argumentsOf(files),
          dieWithParent,
          newSession: true,
          cwd: '/',
          stdio: ['ignore', { fd: logFd }, { fd: logFd }],
        },
        { signal, beforeExec: (pid) => announce(ledger, pid, entries) },
      );
    } catch (error) {
      removeFiles(files, entries);
      throw error;
    } finally {
      closeSync(logFd);
    }
    const process = new DnsmasqProcess(child, files, entries, options.onEnd);
    try {
      if (dieWithParent) process.#watcher = await watchFor(child.pid);
      await untilReady(child, files.log, options);
      return process;
    } catch (error) {
      await process[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One that a daemon before us started; undefined where it is gone. */
  static adopt(
    identity: ProcessIdentity,
    files: DnsmasqFiles,
    { ledger, onEnd }: Pick<DnsmasqOptions, 'ledger' | 'onEnd'>,
  ): DnsmasqProcess | undefined {
    if (!isAlive(identity)) return undefined;
    const entries = [files.conf, files.pid, files.log].map((path) => ledger.record('file', { path }));
    entries.push(ledger.record('process', { ...identity }));
    return new DnsmasqProcess(new ForeignProcess(identity), files, entries, onEnd);
  }

  /** Leaves it running: a daemon that stops. */
  release(): void {
    this.#isEnding = true;
    this.#child.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    await this.#watcher?.[Symbol.asyncDispose]();
    await this.#child.terminate({ graceMs: GRACE_MS });
    removeFiles(this.#files, this.#entries);
  }
}

/** Its own defaults (/etc/dnsmasq.conf, /var/lib/misc/dnsmasq.leases) are another server's. */
function argumentsOf({ conf, leases }: DnsmasqFiles): string[] {
  return [
    `--conf-file=${conf}`,
    `--dhcp-leasefile=${leases}`,
    '--keep-in-foreground',
    '--log-facility=-',
    '--quiet-dhcp',
    '--quiet-dhcp6',
    '--quiet-ra',
  ];
}

/**
 * The kernel forgets the parent-death signal of a process that changes its user, as dnsmasq does: a shell waits for the end of a pipe that only we
 * hold, and ends it.
 */
async function watchFor(pid: number): Promise<ChildHandle> {
  const args = ['-c', 'read _; kill "$1"', 'sh', String(pid)];
  return await spawnChild({ command: 'sh', args, newSession: true, stdio: ['pipe', 'ignore', 'ignore'] });
}

function announce(ledger: Pick<Ledger, 'record'>, pid: number, entries: LedgerEntry[]): void {
  const identity = readIdentity(pid);
  if (identity !== undefined) entries.push(ledger.record('process', { ...identity }));
}

/** It says `started` when its sockets are bound, its leases read and its rights given up. */
async function untilReady(child: ChildHandle, logFile: string, { network, signal }: DnsmasqOptions): Promise<void> {
  const deadline = AbortSignal.timeout(READY_MS);
  const stop = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  const watcher = watch(dirname(logFile));
  try {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (/^dnsmasq(?:\[\d+\])?: started, /m.test(readFileSync(logFile, 'utf8'))) resolve();
      };
      watcher.on('change', (_, name) => {
        if (name === null || name.toString() === basename(logFile)) look();
      });
      watcher.on('error', reject);
      void child.exited.then(({ exitCode, signal: killedBy }) =>
        reject(failed(network, `ended with ${killedBy ?? `status ${exitCode}`}: ${lastWords(logFile)}`)),
      );
      stop.addEventListener(
        'abort',
        () => reject(failed(network, `says nothing for ${READY_MS / 1000} s: ${lastWords(logFile)}`)),
        {
          once: true,
        },
      );
      look();
    });
  } finally {
    watcher.close();
  }
  signal?.throwIfAborted();
  log.debug('dnsmasq', () => `network=${network} pid=${child.pid} is ready`);
}

function lastWords(logFile: string): string {
  try {
    const lines = readFileSync(logFile, 'utf8').trim().split('\n');
    return (lines.findLast((line) => line !== '') ?? '').replace(/^dnsmasq(?:-\w+)?(?:\[\d+\])?: /, '');
  } catch {
    // The network is gone, and its files with it.
    return '';
  }
}

function failed(network: string, why: string): VirtError {
  return new VirtError(`cannot serve network '${network}': dnsmasq ${why}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.NETWORK,
  });
}

function removeFiles({ conf, pid, log: logFile }: DnsmasqFiles, entries: readonly LedgerEntry[]): void {
  for (const path of [conf, pid, logFile]) rmSync(path, { force: true });
  for (const entry of entries) entry.done();
}
