/**
 * `guest-groups.ts` as a program of its own, for the guest with a full cgroup v2 hierarchy: prepares the namespace that it is in, prints the
 * times as JSON. Argument: the rounds.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { planPrepare, prepare } from '../../src/cgroup/prepare.ts';
import { timeGuestGroups } from './guest-groups.ts';

const directory = mkdtempSync(join(tmpdir(), 'nestling-bench-'));
try {
  prepare(planPrepare(detectCgroups()));
  process.stdout.write(JSON.stringify(await timeGuestGroups(directory, Number(process.argv[2]))));
} finally {
  rmSync(directory, { recursive: true });
}
