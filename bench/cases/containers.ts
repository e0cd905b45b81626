/** Containers of busybox: `nestling run`, the library and the daemon, over plain crun and libvirt's LXC driver. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Domain } from '../../src/index.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { startDaemon } from '../../tests/support/daemon.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Result, type Row, summarize } from '../figures.ts';
import { firstOutput, makeBusyboxRoot, PlainCrun } from '../sides/crun.ts';
import { NESTLING, type Workplace } from '../workplace.ts';
import { measureAgainstLibvirt } from './containers-libvirt.ts';

const GOAL_RUN_MS = 60;
const GOAL_CREATE_MS = 8;
const GOAL_HERD_PERCENT = 130;
const GOAL_MEMORY_MIB = 2;
/** Of the hundred: a round is a part of it. */
const HERD = 10;
const AT_ONCE = 100;
const KEPT = 20;
const PATIENCE_MS = 20_000;

const RUN = '`nestling run` of a busybox container to its first output';
const CREATE = 'library: `createDomain` of a busybox container';
const HERD_WHAT = `${HERD} busybox containers started and ended, one after the other`;
const AT_ONCE_WHAT = `${AT_ONCE} busybox containers started and ended, all at once`;
const MEMORY = "daemon's memory for each running container, conmon's apart";

export const CONTAINERS: Bench = {
  name: 'containers',
  summary: 'busybox containers: run, library, herd and memory, over plain crun and libvirt',
  measure: async (place, { rounds }) => {
    const lacking = missing();
    if (lacking !== undefined)
      return [RUN, CREATE, HERD_WHAT, AT_ONCE_WHAT, MEMORY].map((what) => ({ what, skipped: lacking }));
    const root = makeBusyboxRoot(place);
    const sleeping = (name: string): string => definition(name, root, ['/bin/sleep', '1000']);
    return [
      ...(await measureTimes(place, root, rounds)),
      ...(await measureAgainstLibvirt(sleeping, rounds)),
      await measureMemory(root),
    ];
  },
};

function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/bin/busybox')) return 'busybox-static is not installed';
  return ['crun', 'conmon'].find((name) => lookUpProgram(name) === undefined)?.concat(' is not installed');
}

async function measureTimes(place: Workplace, root: string, rounds: number): Promise<Row[]> {
  const cacheDir = place.folder('cache');
  const xmlPath = join(place.folder('xml'), 'box.xml');
  const greeting = definition('box', root, ['/bin/echo', 'hello']);
  writeFileSync(xmlPath, greeting);
  const connection = await connect('lxc:///embed');
  const crun = await PlainCrun.start(place, await connection.planDomain(greeting));
  try {
    const samples = await interleave(
      {
        // Taken off ten times where ten are started, so that one alone is no measure.
        entering: async () => await meanOf(HERD, () => crun.timeEntering()),
        program: async () => await meanOf(HERD, () => crun.timeProgram()),
        crun: () => crun.timeFirstOutput(),
        run: async () => {
          const run = place.nestling(['run', '-c', xmlPath], cacheDir);
          const at = await run.whileRunning(firstOutput(run));
          await run.exited(AbortSignal.timeout(PATIENCE_MS));
          return at - run.startedMs;
        },
        create: async () => {
          const startedMs = performance.now();
          const guest = await connection.createDomain(definition('made', root, ['/bin/sleep', '1000']));
          const ms = performance.now() - startedMs;
          await guest.destroy();
          return ms;
        },
        crunHerd: async () => {
          let ms = 0;
          for (let index = 0; index < HERD; index++) ms += await crun.timeWhole();
          return ms;
        },
        herd: async () => {
          const startedMs = performance.now();
          for (let index = 0; index < HERD; index++) {
            const guest = await connection.createDomain(definition('herd', root, ['/bin/true']));
            await guest.waitForStop();
          }
          return performance.now() - startedMs;
        },
        atOnce: async () => {
          const startedMs = performance.now();
          const one = async (index: number): Promise<void> => {
            const guest = await connection.createDomain(definition(`herd${index}`, root, ['/bin/true']));
            await guest.waitForStop();
          };
          await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => one(index)));
          return performance.now() - startedMs;
        },
      },
      { rounds },
    );
    return rowsOf(samples);
  } finally {
    await connection.close();
    await crun.end();
  }
}

async function meanOf(times: number, measure: () => Promise<number>): Promise<number> {
  let ms = 0;
  for (let index = 0; index < times; index++) ms += await measure();
  return ms / times;
}

type Samples = Record<'entering' | 'program' | 'crun' | 'run' | 'create' | 'crunHerd' | 'herd' | 'atOnce', number[]>;

function rowsOf({ entering, program, ...samples }: Samples): Row[] {
  const off = summarize('', entering).median - summarize('', program).median;
  const crun = summarize(
    'crun run',
    samples.crun.map((ms) => ms - off),
  );
  const crunHerd = summarize(
    `crun run, ${HERD} in a loop`,
    samples.crunHerd.map((ms) => ms - HERD * off),
  );
  const added = (what: string, ours: number[], goal: number): Row => {
    const mine = summarize('ours', ours);
    const figure = { name: 'added', value: mine.median - crun.median, unit: 'ms' } as const;
    return { what, unit: 'ms', ours: mine, others: [crun], figure, goal };
  };
  const herdRow = (what: string, ours: number[], count: number): Row => {
    const mine = summarize('ours', ours);
    const value = (100 * mine.median) / count / (crunHerd.median / HERD);
    const figure = { name: 'share of as many', value, unit: '%' } as const;
    return { what, unit: 'ms', ours: mine, others: [crunHerd], figure, goal: GOAL_HERD_PERCENT };
  };
  return [
    added(RUN, samples.run, GOAL_RUN_MS),
    added(CREATE, samples.create, GOAL_CREATE_MS),
    herdRow(HERD_WHAT, samples.herd, HERD),
    herdRow(AT_ONCE_WHAT, samples.atOnce, AT_ONCE),
  ];
}

/** What its resident memory grows by, with the second half of the containers: the first loads the code. */
async function measureMemory(root: string): Promise<Result> {
  const daemon = await startDaemon([], { cli: NESTLING });
  const connection = await connect(`lxc+unix:///system?socket=${daemon.socket}`);
  const guests: Domain[] = [];
  try {
    const start = async (index: number): Promise<void> => {
      guests.push(await connection.createDomain(definition(`kept${index}`, root, ['/bin/sleep', '1000'])));
    };
    for (let index = 0; index < KEPT; index++) await start(index);
    const before = residentMiB(daemon.pid);
    for (let index = KEPT; index < 2 * KEPT; index++) await start(index);
    const each = (residentMiB(daemon.pid) - before) / KEPT;
    const figure = { name: 'MiB each', value: each, unit: '' } as const;
    return { what: MEMORY, unit: '', ours: summarize('ours', [each]), others: [], figure, goal: GOAL_MEMORY_MIB };
  } finally {
    await Promise.all(guests.map(async (guest) => await guest.destroy()));
    await connection.close();
    await daemon[Symbol.asyncDispose]();
  }
}

function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

function definition(name: string, root: string, [init = '', ...args]: readonly string[]): string {
  const words = args.map((word) => `<initarg>${word}</initarg>`).join('');
  return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>
    <os><type>exe</type><init>${init}</init>${words}</os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
}
