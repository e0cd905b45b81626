/** What living processes say that they have made: for those who look for things without an owner. Reads only. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ObjectIdentity, parseLedger, parseLedgerFileName } from './ledger-format.ts';
import { isAlive } from './ledger-owner.ts';

/** Objects of one kind in the ledgers of processes that live. */
export function readOwned(dir: string, kind: string, procRoot = '/proc'): ObjectIdentity[] {
  return names(dir).flatMap((name) => {
    const file = parseLedgerFileName(name);
    if (file === undefined || !isAlive(file.owner, procRoot)) return [];
    return parseLedger(readOrEmpty(join(dir, name))).open.flatMap((record) =>
      record.kind === kind ? [record.identity] : [],
    );
  });
}

/** Before the first record there is no folder. */
function names(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** Its owner has ended since. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
