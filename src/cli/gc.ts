/** `nestling gc`: removes what processes that died have left on the host. */
import { join } from 'node:path';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { collectGarbage } from '../core/ledger-gc.ts';
import { CORE_REMOVERS } from '../core/ledger-removers.ts';
import { NETWORK_REMOVERS } from '../driver/qemu/runtime/network-device-ip.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling gc [--json]

Removes what Nestling processes that died have left: files, sockets, directories, processes, taps. What living
processes own is left alone. Every start does the same by itself.

Options:
      --json   what was removed and what was not, as one JSON object
  -h, --help   this text

Exit status: 0 all removed; 1 something is still there.
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
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
    removers: { ...CORE_REMOVERS, ...NETWORK_REMOVERS },
  });
  if (values.json === true) {
    const failed = report.failed.map(({ error, ...item }) => ({ ...item, error: String(error) }));
    process.stdout.write(`${JSON.stringify({ ...report, failed })}\n`);
  } else {
    for (const { line } of report.removed) process.stdout.write(`${line}\n`);
    for (const { line } of report.failed) process.stderr.write(`nestling gc: ${line}\n`);
    for (const note of report.notes) process.stderr.write(`nestling gc: ${note}\n`);
  }
  return report.failed.length === 0 ? 0 : 1;
}
