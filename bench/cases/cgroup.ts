/**
 * A guest's groups made, limited and removed by the library, over the same system calls by hand; and the statistics of many guests' groups.
 * On v1 here, on v2 in a guest of the suite, where this host has no full v2 hierarchy.
 */
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { v1Hierarchy, v2Hierarchy } from '../../src/cgroup/host.ts';
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
    const here =
      hasController(1) || hasController(2)
        ? await timeGuestGroups(place.folder('ledger'), rounds * TIMES_PER_ROUND)
        : undefined;
    return [
      here !== undefined && hasController(1)
        ? rowOf(WHAT_V1, here, GOAL_V1_MS)
        : { what: WHAT_V1, skipped: 'no v1 hierarchy with memory here' },
      here !== undefined && hasController(2)
        ? rowOf(WHAT_V2, here, GOAL_V2_MS)
        : await measureV2InGuest(place, rounds, here),
      here === undefined ? { what: WHAT_STATS, skipped: 'no hierarchy with memory here' } : await measureStats(rounds),
    ];
  },
};

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

/**
 * The guest's CPU is emulated, so that what it measures is converted by how much longer the same plain code takes there; without that
 * comparison there is no figure.
 */
async function measureV2InGuest(place: Workplace, rounds: number, here: GuestGroupsTimes | undefined): Promise<Result> {
  const why =
    whyNoProgramGuests() ?? (here === undefined ? 'nothing measured here to compare its speed with' : undefined);
  if (why !== undefined || here === undefined) return { what: WHAT_V2, skipped: why ?? '' };
  const guest = await startV2Guest({ name: 'bench-cgroup', directory: place.folder('v2'), programs: [PROGRAM] });
  try {
    const times = await guest.run(
      `box b node /programs/guest-groups-program.mjs ${rounds * TIMES_PER_ROUND_EMULATED}`,
      {
        timeoutMs: EMULATED_PATIENCE_MS,
      },
    );
    if (times.status !== 0) throw new Error(`in the guest: ${times.stderr}`);
    const inside = JSON.parse(times.stdout) as GuestGroupsTimes;
    const factor = summarize('', inside.parsing).median / summarize('', here.parsing).median;
    const scaled = (samples: readonly number[]): number[] => samples.map((ms) => ms / factor);
    const row = rowOf(WHAT_V2, { ...inside, ours: scaled(inside.ours), plain: scaled(inside.plain) }, GOAL_V2_MS);
    const how = `measured in a guest whose emulated CPU reads a definition ${factor.toFixed(0)} times slower than this host, and divided by that`;
    return { ...row, note: `${row.note}; ${how}` };
  } finally {
    await guest[Symbol.asyncDispose]();
  }
}
