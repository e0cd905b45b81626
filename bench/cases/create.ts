/** The library's `createDomain`, against QEMU started by hand up to its greeting; and how many monitor commands it takes. */
import { connect } from '../../src/index.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Row, summarize } from '../figures.ts';
import { SerialFifo } from '../serial-fifo.ts';
import { readPlan, timeRawMonitor } from '../sides/raw-qemu.ts';
import type { BenchGuest, Workplace } from '../workplace.ts';
import { addedRow } from './start.ts';

const ADDED_GOAL_MS = 15;
const COMMANDS_GOAL = 12;

export const CREATE: Bench = {
  name: 'create',
  summary: 'createDomain until QEMU runs; monitor commands of a start',
  measure: async (place, { rounds }) => {
    const guest = await place.guest('halt');
    const cacheDir = place.folder('cache');
    const plan = await readPlan(place, guest, cacheDir);
    // Held open for the guest's serial port, and not read.
    using _fifo = new SerialFifo(guest.fifoPath);
    const commandCounts: number[] = [];
    const samples = await interleave(
      {
        greeting: () => timeRawMonitor(place, plan, 'greeting'),
        answer: () => timeRawMonitor(place, plan, 'answer'),
        ours: async () => {
          const { timeMs, commands } = await createOnce(place, guest, cacheDir);
          commandCounts.push(commands);
          return timeMs;
        },
      },
      { rounds },
    );
    const [greeting, answer] = [
      summarize('raw QEMU to greeting', samples.greeting),
      summarize('raw QEMU to running', samples.answer),
    ];
    const ours = summarize('ours', samples.ours);
    const what = 'createDomain until QEMU runs';
    return [
      {
        ...addedRow(`${what}, over raw QEMU that runs`, ours, answer, ADDED_GOAL_MS),
        note: 'in a program that is connected already; raw QEMU runs when it answers query-status',
      },
      {
        ...addedRow(`${what}, over raw QEMU's greeting`, ours, greeting, Number.POSITIVE_INFINITY),
        note: 'for information: QEMU greets before it makes the machine, and needs longer for that than any goal',
      },
      commandsRow(commandCounts),
    ];
  },
};

async function createOnce(
  place: Workplace,
  guest: BenchGuest,
  cacheDir: string,
): Promise<{ timeMs: number; commands: number }> {
  let commands = 0;
  const trace = (direction: 'send' | 'receive'): void => void (direction === 'send' && commands++);
  await using connection = await connect(`qemu:///embed?root=${encodeURIComponent(place.folder('root'))}`, {
    cacheDir,
    trace,
  });
  const beforeMs = performance.now();
  await using _domain = await connection.createDomain(guest.xml, { signal: AbortSignal.timeout(20_000) });
  const timeMs = performance.now() - beforeMs;
  return { timeMs, commands };
}

function commandsRow(counts: readonly number[]): Row {
  const ours = summarize('ours', counts);
  return {
    what: 'QMP commands of a start',
    unit: '',
    ours,
    others: [],
    figure: { name: 'most', value: Math.max(...counts), unit: '' },
    goal: COMMANDS_GOAL,
    note: 'counted in the trace, negotiation included',
  };
}
