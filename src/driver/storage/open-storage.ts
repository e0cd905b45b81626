/** Opens the storage driver of a connection's root: where its files are, how it runs programs, what it gets of secrets and ledgers. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Ledger } from '../../core/ledger.ts';
import { collectGarbage } from '../../core/ledger-gc.ts';
import { CORE_REMOVERS } from '../../core/ledger-removers.ts';
import { randomHex } from '../../core/random.ts';
import { findMount } from '../../host/mounts.ts';
import type { VolumeEncryption } from '../../model/storage/volume.ts';
import type { ObjectLedger, SiblingOptions } from '../siblings.ts';
import { mountSource } from './plan/file-system.ts';
import type { PassphraseFile } from './plan/qemu-img.ts';
import type { BackendHost, NamedPool } from './pool-backend.ts';
import { type RunStep, runStep } from './run-step.ts';
import { StorageDriver } from './storage-driver.ts';

export interface OpenStorageOptions extends Pick<SiblingOptions, 'root' | 'secretValue' | 'onNote'> {
  /** How programs are run; tests have their own. */
  readonly run?: RunStep | undefined;
  readonly mountInfoPath?: string | undefined;
}

/** The driver, and what the connection's life asks of it. */
export interface OpenStorage {
  readonly driver: StorageDriver;
  takeOver(): Promise<void>;
  close(): Promise<void>;
}

export function openStorage(options: OpenStorageOptions): OpenStorage {
  const { root, onNote } = options;
  const ledgers = new PoolLedgers((pool) => root.ledgerOf(ledgerName(pool)));
  const mountInfoPath = options.mountInfoPath ?? '/proc/self/mountinfo';
  const host: BackendHost = {
    run: options.run ?? runStep,
    passphrase: async (encryption) => writePassphrase(join(root.run, 'storage-secrets'), encryption, options),
    ledgerOf: (pool) => ledgers.of(pool),
    mountInfoPath,
  };
  const isDaemon = root.placement === 'daemon';
  const driver = new StorageDriver({
    dirs: { etc: join(root.etc, 'storage'), run: isDaemon ? join(root.run, 'storage') : undefined },
    host,
    onPoolStopped: (pool) => ledgers.done(pool),
    onNote,
  });
  return {
    driver,
    takeOver: async () => {
      // Of a daemon that was killed: no program of ours reads them any more.
      rmSync(join(root.run, 'storage-secrets'), { recursive: true, force: true });
      const kept = new Set<string>();
      await driver.takeOver(async (pool) => {
        kept.add(ledgerName(pool));
        await adoptLedger(ledgers.of(pool), pool, mountInfoPath);
      });
      const left = root.ledgers().filter((name) => name.startsWith(LEDGER_PREFIX) && !kept.has(name));
      for (const name of left) (await root.collect(name)).forEach(onNote);
    },
    close: async () => {
      await driver.close({ keepRunning: isDaemon });
      ledgers.close();
    },
  };
}

const LEDGER_PREFIX = 'storage-';

function ledgerName({ uuid }: NamedPool): string {
  return LEDGER_PREFIX + uuid;
}

/** One ledger for each pool that has something on the host. */
class PoolLedgers {
  readonly #open = new Map<string, ObjectLedger>();
  readonly #make: (pool: NamedPool) => ObjectLedger;

  constructor(make: (pool: NamedPool) => ObjectLedger) {
    this.#make = make;
  }

  of(pool: NamedPool): Ledger {
    const known = this.#open.get(pool.uuid) ?? this.#make(pool);
    this.#open.set(pool.uuid, known);
    return known.ledger;
  }

  done({ uuid }: NamedPool): void {
    this.#open.get(uuid)?.done();
    this.#open.delete(uuid);
  }

  /** What is recorded stays so: the next one finds it. */
  close(): void {
    this.#open.clear();
  }
}

/** What the daemon before had for a pool that goes on: half-made files go, its mount is ours now. */
async function adoptLedger(ledger: Ledger, pool: NamedPool, mountInfoPath: string): Promise<void> {
  const path = pool.target?.path ?? '';
  const source = mountSource(pool);
  const isMounted = pool.type !== 'dir' && findMount(path, mountInfoPath) !== undefined;
  if (isMounted) ledger.record('mount', { path, source });
  await collectGarbage({ dir: dirname(ledger.path), removers: { ...CORE_REMOVERS, mount: () => {} } });
}

/** Private, on tmpfs, for the time of one command. */
function writePassphrase(
  dir: string,
  { secrets }: VolumeEncryption,
  { secretValue }: Pick<OpenStorageOptions, 'secretValue'>,
): PassphraseFile & Disposable {
  const [secret] = secrets;
  const value = secretValue({ uuid: secret?.uuid, usage: secret?.usage });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  chmodSync(dir, 0o700);
  const path = join(dir, randomHex(8));
  writeFileSync(path, value, { mode: 0o600, flag: 'wx' });
  return { path, [Symbol.dispose]: () => rmSync(path, { force: true }) };
}
