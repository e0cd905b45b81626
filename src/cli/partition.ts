/** `nestling partition`: the groups that guests share limits in, made, limited, shown and removed. */
import { MEMORY_UNLIMITED_KIB } from '../cgroup/controllers.ts';
import { formatList, parseList } from '../cgroup/files.ts';
import type { PartitionInfo, PartitionLimits } from '../cgroup/partition.ts';
import { openPartitions, type PartitionStore } from '../cgroup/partition-store.ts';
import { onePositional, parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling partition create|set PARTITION [LIMITS] [--dry-run]
       nestling partition list|tree [PARTITION] [--json]
       nestling partition rm PARTITION...

Partitions are cgroups that guests share limits in; where systemd runs they are its slices
(/machine/testing is machine-testing.slice). A definition names one:
<resource><partition>/production</partition></resource>.
They stay until they are removed, or the host restarts.

  create   makes a partition and the ones above it
  set      changes limits of one
  list     all partitions, one a line
  tree     the same as a tree, with what each may use and uses
  rm       removes partitions in which no guest runs

Limits (0 or "none" lifts one):
      --memory SIZE         of memory: 512M, 8G; KiB without a unit
      --memory-soft SIZE    above which the kernel takes memory back first
      --memory-swap SIZE    of memory and swap together
      --cpu-shares N        share of CPU time (v1: 2 to 262144, usually 1024; v2: 1 to 10000, usually 100)
      --cpus N              so many CPUs' time, as 1.5
      --cpuset LIST         host CPUs: 0-3,6
      --mems LIST           host memory nodes
      --io-weight N         share of disk time
      --pids N              processes and threads

Options:
      --dry-run   prints what would be done, as shell commands
      --json      as JSON
  -h, --help      this text

Exit status: 0 done; 1 the kernel or systemd refused (the message says why); 2 wrong usage.
`;

const OPTIONS = {
  memory: { type: 'string' },
  'memory-soft': { type: 'string' },
  'memory-swap': { type: 'string' },
  'cpu-shares': { type: 'string' },
  cpus: { type: 'string' },
  cpuset: { type: 'string' },
  mems: { type: 'string' },
  'io-weight': { type: 'string' },
  pids: { type: 'string' },
  'dry-run': { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

type Values = ReturnType<typeof parseOptions<typeof OPTIONS>>['values'];

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  const [command, ...names] = positionals;
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (command === undefined) throw new UsageError('create, set, list, tree or rm is missing');
  const run = COMMANDS[command];
  if (run === undefined) throw new UsageError(`there is no 'partition ${command}'`);
  const limits = limitsOf(values);
  if (command === 'set' && Object.keys(limits).length === 0) throw new UsageError('set takes at least one limit');
  if (command === 'rm' && names.length === 0) throw new UsageError('the partition is missing');
  const given = ['create', 'set'].includes(command) ? [onePositional(names, 'the partition')] : names;
  await using partitions = await openPartitions();
  await run({ partitions, names: given.map(named), values, limits });
  return 0;
}

interface Request {
  readonly partitions: PartitionStore;
  readonly names: readonly string[];
  readonly values: Values;
  readonly limits: PartitionLimits;
}

const COMMANDS: Readonly<Record<string, (request: Request) => Promise<void>>> = {
  create: async ({ partitions, names: [name = ''], values, limits }) => {
    if (values['dry-run'] === true) return printPlan(await partitions.planCreate(name, limits));
    printNotes(await partitions.create(name, limits));
  },
  set: async ({ partitions, names: [name = ''], values, limits }) => {
    if (values['dry-run'] === true) return printPlan(await partitions.planSet(name, limits));
    await partitions.set(name, limits);
  },
  list: async (request) => await show(request, formatNames),
  tree: async (request) => await show(request, formatTree),
  rm: async ({ partitions, names }) => {
    for (const name of names) await partitions.remove(name);
  },
};

async function show({ partitions, names, values }: Request, format: (info: PartitionInfo) => string): Promise<void> {
  const found =
    names.length === 0 ? await partitions.list() : await Promise.all(names.map((name) => partitions.read(name)));
  if (values.json === true) process.stdout.write(`${JSON.stringify(found, jsonValue, 2)}\n`);
  else process.stdout.write(found.map((partition) => format(partition)).join(''));
}

function printPlan({ script, notes }: { script: string; notes: readonly string[] }): void {
  printNotes(notes);
  process.stdout.write(script);
}

function printNotes(notes: readonly string[]): void {
  for (const note of notes) process.stderr.write(`nestling partition: ${note}\n`);
}

/** A name is taken for a path from the top. */
function named(partition: string): string {
  return partition.startsWith('/') ? partition : `/${partition}`;
}

function limitsOf(values: Values): PartitionLimits {
  const cpus = numberOf(values.cpus, '--cpus');
  const periodUs = 100_000;
  const parts = {
    memory: prune({
      hardLimitKiB: sizeOf(values.memory, '--memory'),
      softLimitKiB: sizeOf(values['memory-soft'], '--memory-soft'),
      swapHardLimitKiB: sizeOf(values['memory-swap'], '--memory-swap'),
    }),
    cpu: prune({
      shares: numberOf(values['cpu-shares'], '--cpu-shares'),
      ...(cpus === undefined ? {} : cpus === 0 ? { quotaUs: -1 } : { periodUs, quotaUs: Math.round(cpus * periodUs) }),
    }),
    cpuset: prune({ cpus: listOf(values.cpuset, '--cpuset'), mems: listOf(values.mems, '--mems') }),
    blkio: prune({ weight: numberOf(values['io-weight'], '--io-weight') }),
    pids: prune({ max: numberOf(values.pids, '--pids') }),
  };
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => Object.keys(part).length > 0));
}

function prune<T extends object>(part: T): Partial<T> {
  // Object.fromEntries forgets which member has which type.
  return Object.fromEntries(Object.entries(part).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function numberOf(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  if (text === 'none') return 0;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new UsageError(`${option} takes a number, not '${text}'`);
}

const UNITS: Readonly<Record<string, number>> = { K: 1, M: 1024, G: 1024 ** 2, T: 1024 ** 3 };

function sizeOf(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  if (text === 'none' || text === '0') return MEMORY_UNLIMITED_KIB;
  const match = /^(\d+(?:\.\d+)?)([KMGT])?(?:i?B)?$/i.exec(text);
  if (match === null) throw new UsageError(`${option} takes a size such as 512M or 8G, not '${text}'`);
  return Math.round(Number(match[1]) * (UNITS[(match[2] ?? 'K').toUpperCase()] ?? 1));
}

function listOf(text: string | undefined, option: string): number[] | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text))
    throw new UsageError(`${option} takes a list such as 0-3,6, not '${text}'`);
  return parseList(text);
}

function formatNames(info: PartitionInfo): string {
  return `${info.partition}\n${info.children.map(formatNames).join('')}`;
}

function formatTree(info: PartitionInfo, indent = ''): string {
  const name = indent === '' ? info.partition : (info.partition.split('/').at(-1) ?? '');
  const { memoryUsageKiB, pids } = info.usage;
  const usage = [
    ...(memoryUsageKiB === undefined ? [] : [`${formatSize(memoryUsageKiB)} in use`]),
    ...(pids === undefined ? [] : [`${pids} processes`]),
  ];
  const facts = [...formatLimits(info.limits), ...usage].join(', ');
  const guests = info.guests.map((guest) => `${indent}  guest ${guest}\n`).join('');
  const children = info.children.map((child) => formatTree(child, `${indent}  `)).join('');
  return `${indent}${name}${facts === '' ? '' : `  (${facts})`}\n${guests}${children}`;
}

function formatLimits({ memory, cpu, cpuset, pids }: PartitionLimits): string[] {
  const hard = memory?.hardLimitKiB;
  return [
    ...(hard === undefined || hard >= MEMORY_UNLIMITED_KIB ? [] : [`memory at most ${formatSize(hard)}`]),
    ...(cpu?.quotaUs === undefined || cpu.quotaUs <= 0 ? [] : [`${cpu.quotaUs / (cpu.periodUs ?? 100_000)} CPUs`]),
    ...(cpu?.shares === undefined ? [] : [`CPU shares ${cpu.shares}`]),
    ...(cpuset?.cpus === undefined || cpuset.cpus.length === 0 ? [] : [`CPUs ${formatList(cpuset.cpus)}`]),
    ...((pids?.max ?? 0) === 0 ? [] : [`at most ${pids?.max} processes`]),
  ];
}

function formatSize(sizeKiB: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = sizeKiB;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** JSON has no integers of 64 bits. */
function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}
