/**
 * A guest's groups made, limited and removed by the library, over the same system calls by hand; and the statistics of many guests' groups.
 * On v1 here, on v2 in a guest of the suite, where this host has no full v2 hierarchy.
 */
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { v1Hierarchy, v2Hierarchy } from '../../src/cgroup/host.ts';
import { planPrepare } from '../../src/cgroup/prepare.ts';
import { whyNoProgramGuests } from '../../tests/support/guests/node-image.ts';
import { startV2Guest } from '../../tests/support/guests/v2-guest.ts';
import type { Bench } from '../bench.ts';
import { type Result, type Row, summarize } from '../figures.ts';
import { timeGroupStats } from '../sides/group-stats.ts';
import { type GuestGroupsTimes, timeGuestGroups } from '../sides/guest-groups.ts';
import type { Workplace } from '../workplace.ts';

const GOAL_V1_MS = 2;
const GOAL_V2_MS = 1;
const GOAL_STATS_MS = 100;
const GUESTS = 1000;
/** A round is so short that a few say nothing. */
const TIMES_PER_ROUND = 10;
/** In the guest each takes twenty times as long. */
const TIMES_PER_ROUND_EMULATED = 4;
const EMULATED_PATIENCE_MS = 120_000;
const WHAT_V1 = "a guest's cgroups made, limited, removed: v1";
const WHAT_V2 = "a guest's cgroups made, limited, removed: v2";
const WHAT_STATS = `statistics of ${GUESTS} guests' cgroups`;
const PROGRAM = new URL('../sides/guest-groups-program.ts', import.meta.url);

export const CGROUP: Bench = {
  name: 'cgroup',
  summary: "a guest's cgroups made and removed, 1000 guests' read",
  measure: async (place, { rounds }) => {
    if (process.getuid?.() !== 0)
      return [WHAT_V1, WHAT_V2, WHAT_STATS].map((what) => ({ what, skipped: 'needs root' }));
    const here = await measureHere(place, rounds);
    if ('skipped' in here) return [WHAT_V1, WHAT_V2, WHAT_STATS].map((what) => ({ what, skipped: here.skipped }));
    return [
      ...(here.version === 1
        ? [rowOf(WHAT_V1, here.times, GOAL_V1_MS), await measureV2InGuest(place, rounds, here.times)]
        : [{ what: WHAT_V1, skipped: 'this host has v2' }, rowOf(WHAT_V2, here.times, GOAL_V2_MS)]),
      await measureStats(rounds),
    ];
  },
};

/** Whichever hierarchy has this host's controllers. */
async function measureHere(
  place: Workplace,
  rounds: number,
): Promise<{ version: 1 | 2; times: GuestGroupsTimes } | { skipped: string }> {
  const version = ([1, 2] as const).find(hasController);
  if (version === undefined) return { skipped: 'no hierarchy here has the memory controller and may be written' };
  const [refusal] = planPrepare(detectCgroups()).refusals;
  if (version === 2 && refusal !== undefined) return { skipped: refusal.message };
  return { version, times: await timeGuestGroups(place.folder('ledger'), rounds * TIMES_PER_ROUND) };
}

function hasController(version: 1 | 2): boolean {
  const host = detectCgroups();
  const hierarchy = version === 1 ? v1Hierarchy(host, 'memory') : v2Hierarchy(host);
  return hierarchy?.writable === true && hierarchy.controllers.includes('memory');
}

async function measureStats(rounds: number): Promise<Row> {
  const ours = summarize('ours', await timeGroupStats(GUESTS, rounds));
  const figure = { name: 'in all', value: ours.median, unit: 'ms' } as const;
  return {
    what: WHAT_STATS,
    unit: 'ms',
    ours,
    others: [],
    figure,
    goal: GOAL_STATS_MS,
    note: 'CPU, throttling, memory, processes and I/O',
  };
}

function rowOf(what: string, { ours, plain, groups, writes }: GuestGroupsTimes, goal: number): Row {
  const mine = summarize('ours', ours);
  const theirs = summarize('plain system calls', plain);
  return {
    what,
    unit: 'ms',
    ours: mine,
    others: [theirs],
    figure: { name: 'added', value: mine.median - theirs.median, unit: 'ms' },
    goal,
    note: `${groups} groups, ${writes} writes; ours looks at the host, plans, notes all of it in the ledger, and removes`,
  };
}

/** The guest's CPU is emulated, so that what it measures is divided by how much longer our plain code takes there. */
async function measureV2InGuest(place: Workplace, rounds: number, here: GuestGroupsTimes): Promise<Result> {
  const why = whyNoProgramGuests();
  if (why !== undefined) return { what: WHAT_V2, skipped: why };
  const guest = await startV2Guest({ name: 'bench-cgroup', directory: place.folder('v2'), programs: [PROGRAM] });
  try {
    const command = `box b node /programs/guest-groups-program.mjs ${rounds * TIMES_PER_ROUND_EMULATED}`;
    const { status, stdout, stderr } = await guest.run(command, { timeoutMs: EMULATED_PATIENCE_MS });
    if (status !== 0) throw new Error(`in the guest, ${command}: ${stderr}`);
    const inside = JSON.parse(stdout) as GuestGroupsTimes;
    // As many as there: Node makes code faster the more often it has run.
    const parsing = here.parsing.slice(0, inside.parsing.length);
    const factor = summarize('', inside.parsing).median / summarize('', parsing).median;
    const scaled = (samples: readonly number[]): number[] => samples.map((ms) => ms / factor);
    const row = rowOf(WHAT_V2, { ...inside, ours: scaled(inside.ours), plain: scaled(inside.plain) }, GOAL_V2_MS);
    const how = `in a guest whose emulated CPU parses definitions ${factor.toFixed(0)} times slower, times divided by that`;
    return { ...row, note: `${row.note}; ${how}` };
  } finally {
    await guest[Symbol.asyncDispose]();
  }
}
