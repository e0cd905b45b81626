/**
 * The directory tree of a daemon: state that is kept, and a runtime folder whose name is the same for every daemon of
 * that state, so that the next one finds the guests. Holds the state's lock; knows nothing of guests.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, normalize } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { removeUnfinished, writeFileAtomic } from '../core/fs.ts';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { Ledger } from '../core/ledger.ts';
import { collectGarbage } from '../core/ledger-gc.ts';
import { readScope } from '../core/ledger-owner.ts';
import { acquireLockFile, LockedError } from '../core/lock-file.ts';
import { sha256Hex } from '../core/sha256.ts';
import type { ObjectLedger } from '../driver/siblings.ts';
import { type DriverRoot, isGuestName, type RootFolders } from './driver-root.ts';
import { foldersBelow } from './embedded-root.ts';
import { GUEST_REMOVERS } from './removers.ts';

export interface DaemonRootOptions {
  /** `system`: /etc, /var/lib, /var/log; `session`: the user's own folders. */
  readonly mode: 'system' | 'session';
  /** Everything below this folder instead. */
  readonly stateDir?: string | undefined;
  /** Default: `prepareRuntimeDir()`. */
  readonly runtimeDir?: string | undefined;
}

export class DaemonRoot implements DriverRoot {
  readonly path: string;
  readonly placement = 'daemon';
  readonly temporary = false;
  readonly folders: RootFolders;
  /** Status of running guests, and their ledgers. */
  readonly statusDir: string;
  readonly #lock: Disposable;

  private constructor(init: { path: string; folders: RootFolders; statusDir: string; lock: Disposable }) {
    this.path = init.path;
    this.folders = init.folders;
    this.statusDir = init.statusDir;
    this.#lock = init.lock;
  }

  /** @throws VirtError where the folders cannot be made, or another daemon has them */
  static open(options: DaemonRootOptions): DaemonRoot {
    const stateDir = options.stateDir === undefined ? undefined : normalize(options.stateDir).replace(/(?<=.)\/+$/, '');
    const name = stateDir ?? options.mode;
    const run = runDir(name, stateDir, options.runtimeDir);
    const folders = stateDir === undefined ? hostFolders(options.mode, run) : foldersBelow(stateDir, run);
    const statusDir = join(run, 'status');
    try {
      for (const dir of [...Object.values(folders), join(folders.lib, 'qemu'), statusDir]) {
        mkdirSync(dir, { recursive: true, mode: 0o700 });
      }
      const lock = acquireLockFile(join(folders.lib, 'qemu', 'driver.lock'));
      // Of a daemon that was killed: the lock is ours.
      removeUnfinished(statusDir);
      return new DaemonRoot({ path: name, folders, statusDir, lock });
    } catch (error) {
      if (error instanceof VirtError) throw error;
      const isLocked = error instanceof LockedError;
      const message = error instanceof Error ? error.message : String(error);
      throw new VirtError(`cannot use ${folders.lib} as a daemon's state: ${message}`, {
        code: isLocked ? ErrorCode.RESOURCE_BUSY : ErrorCode.SYSTEM_ERROR,
        domain: ErrorDomain.QEMU,
        cause: error,
      });
    }
  }

  ledgerOf(name: string): ObjectLedger {
    const dir = this.#ledgerDir(name);
    const ledger = Ledger.open(dir);
    return {
      ledger,
      done: () => {
        // What could not be removed is the next daemon's to try; processes are gone by now, and never said to be done with.
        const isKept = ledger.entries.some(({ kind }) => kind !== 'process');
        ledger[Symbol.dispose]();
        if (!isKept) rmSync(dir, { recursive: true, force: true });
      },
    };
  }

  /** Guests that have, or had, something on the host. */
  ledgers(): string[] {
    return readdirSync(this.statusDir).flatMap((name) => (name.endsWith('.ledger') ? [name.slice(0, -7)] : []));
  }

  /**
   * Removes all that an object without a process has left. @returns one line for each thing that could not be removed; such an object's
   * ledger stays for the next time
   */
  async collect(name: string): Promise<string[]> {
    const dir = this.#ledgerDir(name);
    const { failed } = await collectGarbage({ dir, removers: GUEST_REMOVERS });
    if (failed.length > 0) return failed.map(({ line }) => line);
    rmSync(dir, { recursive: true, force: true });
    return [];
  }

  /** Ledgers of a daemon are judged one by one, with what their owners' status says. */
  async collectDead(): Promise<string[]> {
    return [];
  }

  /** Written whole or not at all. */
  async keepStatus(name: string, text: string): Promise<void> {
    await writeFileAtomic(this.#statusFile(name), text, { mode: 0o600, sync: false });
  }

  dropStatus(name: string): void {
    rmSync(this.#statusFile(name), { force: true });
  }

  statusFiles(driver: 'qemu' | 'lxc'): string[] {
    const names = readdirSync(this.statusDir).filter((name) => name.endsWith('.json') && isGuestName(name, driver));
    return names.map((name) => join(this.statusDir, name));
  }

  /** True once for each boot. */
  isFirstSinceBoot(): boolean {
    const path = join(this.statusDir, 'autostarted');
    const boot = readScope().bootId;
    if (existsSync(path) && readFileSync(path, 'utf8') === boot) return false;
    writeFileSync(path, boot, { mode: 0o600 });
    return true;
  }

  #statusFile(name: string): string {
    return join(this.statusDir, `${name}.json`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock[Symbol.dispose]();
  }

  #ledgerDir(name: string): string {
    return join(this.statusDir, `${name}.ledger`);
  }
}

/** Below the state where sockets' paths stay short enough, else in the runtime directory under a name that follows from it. */
function runDir(name: string, stateDir: string | undefined, runtimeDir: string | undefined): string {
  if (stateDir !== undefined && Buffer.byteLength(stateDir) <= MAX_STATE_DIR_BYTES) return join(stateDir, 'run');
  const unique = sha256Hex(name).slice(0, 8);
  return join(runtimeDir ?? prepareRuntimeDir(), `d-${unique}`);
}

/** Leaves 67 bytes for `/run/qemu/domain-ID-NAME/monitor.sock` and its kin. */
const MAX_STATE_DIR_BYTES = 40;

function hostFolders(mode: 'system' | 'session', run: string): RootFolders {
  const home = homedir();
  const xdg = (name: string, otherwise: string): string => {
    const value = process.env[name];
    return `${value === undefined || value === '' ? join(home, otherwise) : value}/nestling`;
  };
  const [etc, lib, log] =
    mode === 'system'
      ? ['/etc/nestling', '/var/lib/nestling', '/var/log/nestling']
      : [
          xdg('XDG_CONFIG_HOME', '.config'),
          xdg('XDG_DATA_HOME', '.local/share'),
          `${xdg('XDG_CACHE_HOME', '.cache')}/log`,
        ];
  return { etc, lib, log, run };
}
