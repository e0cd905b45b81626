/**
 * What is on the host because of other programs that run beside the tests: theirs by a ledger of a living process that is none of ours, or
 * because such processes are in it. So that two suites, or a suite and a guest of yours, do not see each other's things as leaks.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { processesBelow } from '../../src/cgroup/ledger-remover.ts';
import { parseLedger } from '../../src/core/ledger-format.ts';

export interface ForeignOptions {
  readonly proc: string;
  /** Folders in which ledgers are. */
  readonly ledgerDirs: readonly string[];
  /** Whether a process is a test's. */
  readonly isOurs: (pid: string) => boolean;
}

export class ForeignThings {
  readonly #options: ForeignOptions;
  /** Paths and names in others' ledgers. */
  readonly #recorded: ReadonlySet<string>;

  constructor(options: ForeignOptions) {
    this.#options = options;
    this.#recorded = new Set(options.ledgerDirs.flatMap((dir) => this.#recordsIn(dir)));
  }

  /** A file, or a network interface by its name. */
  includes(thing: string): boolean {
    const parts = thing.split('/');
    return parts.some((_, index) => this.#recorded.has(parts.slice(0, index + 1).join('/')));
  }

  includesGroup(directory: string): boolean {
    const pids = processesBelow(directory);
    return this.includes(directory) || (pids.length > 0 && !pids.some(this.#options.isOurs));
  }

  #recordsIn(dir: string): string[] {
    if (!existsSync(dir)) return [];
    const { proc, isOurs } = this.#options;
    return readdirSync(dir).flatMap((name) => {
      const { owner, open } = parseLedger(readOrEmpty(join(dir, name)));
      const pid = String(owner?.pid);
      if (owner === undefined || isOurs(pid) || !existsSync(join(proc, pid))) return [];
      return open.flatMap(({ identity }) => Object.values(identity).filter((value) => typeof value === 'string'));
    });
  }
}

/** Ledgers go with their owners. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
