/** `nestling gc`: removes what processes that died have left on the host. */
import { join } from 'node:path';
import { findStaleGroups, removeStaleGroups, type StaleGroup } from '../cgroup/stale.ts';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { collectGarbage } from '../core/ledger-gc.ts';
import { readOwned } from '../core/ledger-read.ts';
import { GUEST_REMOVERS } from '../guest/removers.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling gc [--all] [--json]

Removes what Nestling processes that died have left: files, sockets, directories, processes, taps, cgroups. What living
processes own is left alone. Every start does the same by itself. Empty cgroups of guests that are gone and that no
ledger names (libvirt's among them, also in its old layout) are shown, and removed with --all.

Options:
      --all    remove also cgroups that only their names tell to be dead guests'
      --json   what was removed and what was not, as one JSON object
  -h, --help   this text

Exit status: 0 all removed; 1 something is still there.
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    all: { type: 'boolean' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument '${positionals[0]}'`);
  const report = await collectGarbage({
    dir: join(prepareRuntimeDir(), 'ledger'),
    removers: GUEST_REMOVERS,
  });
  const stale = await removeStale(join(prepareRuntimeDir(), 'ledger'), values.all === true);
  if (values.json === true) {
    const failed = report.failed.map(({ error, ...item }) => ({ ...item, error: String(error) }));
    process.stdout.write(
      `${JSON.stringify({ ...report, failed, staleGroups: stale.map(({ directory }) => directory) })}\n`,
    );
  } else {
    for (const { line } of report.removed) process.stdout.write(`${line}\n`);
    for (const { directory, guest } of stale) {
      process.stdout.write(
        `${values.all === true ? 'removed' : 'left'} group ${directory} of guest ${guest.name}, which is gone\n`,
      );
    }
    if (stale.length > 0 && values.all !== true) {
      process.stderr.write("nestling gc: no ledger of ours names these groups; 'nestling gc --all' removes them\n");
    }
    for (const { line } of report.failed) process.stderr.write(`nestling gc: ${line}\n`);
    for (const note of report.notes) process.stderr.write(`nestling gc: ${note}\n`);
  }
  return report.failed.length === 0 ? 0 : 1;
}

/** Groups by name and emptiness alone: those that a living program is about to use are not among them. */
async function removeStale(ledgerDir: string, remove: boolean): Promise<StaleGroup[]> {
  const owned = new Set(readOwned(ledgerDir, 'cgroup').map(({ directory }) => String(directory)));
  const stale = findStaleGroups({ owned });
  if (remove) await removeStaleGroups(stale);
  return stale;
}
