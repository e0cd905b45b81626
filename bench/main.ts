/**
 * The benches' program: measures all of them or the named ones, prints a table or JSON, and ends with status 1 when a goal is
 * missed. Every bench measures its sides in turn, in one run; figures of different runs are not to be compared.
 */
import { parseArgs } from 'node:util';
import type { Bench } from './bench.ts';
import { CAPABILITIES } from './cases/capabilities.ts';
import { CGROUP } from './cases/cgroup.ts';
import { CONTAINERS } from './cases/containers.ts';
import { CREATE } from './cases/create.ts';
import { DAEMON } from './cases/daemon.ts';
import { DOCTOR } from './cases/doctor.ts';
import { EXIT } from './cases/exit.ts';
import { LIBVIRT, measureLibvirt } from './cases/libvirt.ts';
import { LOG } from './cases/log.ts';
import { NETWORK } from './cases/network.ts';
import { PLAN } from './cases/plan.ts';
import { START } from './cases/start.ts';
import { STORAGE } from './cases/storage.ts';
import { isMet, type Result } from './figures.ts';
import { coverDevKvm, PRIVATE_HOST } from './private-host.ts';
import { formatTable } from './table.ts';
import { Workplace } from './workplace.ts';

const BENCHES: readonly Bench[] = [
  START,
  CREATE,
  CAPABILITIES,
  PLAN,
  EXIT,
  CGROUP,
  LOG,
  DOCTOR,
  DAEMON,
  NETWORK,
  STORAGE,
  CONTAINERS,
  LIBVIRT,
];
const ROUNDS = 15;

const HELP = `Usage: ./dev bench [--json] [--no-fail] [--rounds N] [BENCH...]

Measures against the goals in SPECIFICATION.md. Exit status: 0 all met, 1 a goal is missed, 2 wrong usage.

Benches:
${BENCHES.map(({ name, summary }) => `  ${name.padEnd(14)}${summary}`).join('\n')}

Options:
  --json       rows as JSON instead of a table
  --no-fail    status 0 also when a goal is missed
  --rounds N   measured rounds (default ${ROUNDS}); with fewer than 10 the medians mean little
`;

async function main(args: string[]): Promise<number> {
  if (args[0] === PRIVATE_HOST) return await mainOfCopy(args.slice(1));
  const { values, positionals } = readArguments(args);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const rounds = readRounds(values.rounds);
  const unknown = positionals.find((name) => !BENCHES.some((bench) => bench.name === name));
  if (unknown !== undefined || rounds === undefined) {
    process.stderr.write(`bench: ${unknown === undefined ? 'bad --rounds' : `no bench is called ${unknown}`}\n${HELP}`);
    return 2;
  }
  const results: Result[] = [];
  using place = new Workplace();
  for (const bench of BENCHES) {
    if (positionals.length > 0 && !positionals.includes(bench.name)) continue;
    process.stderr.write(`bench: ${bench.name} ...\n`);
    results.push(...(await bench.measure(place, { rounds })));
  }
  process.stdout.write(values.json === true ? `${JSON.stringify(results, undefined, 2)}\n` : formatTable(results));
  const missed = results.some((result) => isMet(result) === false);
  return missed && values['no-fail'] !== true ? 1 : 0;
}

function readArguments(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      'no-fail': { type: 'boolean' },
      rounds: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

function readRounds(text: string | undefined): number | undefined {
  const rounds = Number(text ?? ROUNDS);
  return Number.isInteger(rounds) && rounds > 0 ? rounds : undefined;
}

/** In private namespaces (private-host.ts): measures one bench and prints its rows. */
async function mainOfCopy([bench, ...rest]: string[]): Promise<number> {
  if (bench !== LIBVIRT.name) throw new Error(`no bench in private namespaces is called ${bench}`);
  using place = new Workplace();
  const rounds = readRounds(readArguments(rest).values.rounds) ?? ROUNDS;
  process.stdout.write(JSON.stringify(await measureLibvirt(place, coverDevKvm(place), { rounds })));
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
