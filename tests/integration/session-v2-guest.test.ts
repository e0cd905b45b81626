/** Containers of a user in a cgroup v2 hierarchy, in a test guest: limits in a group that the user was given, none in one that is root's. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { whyNoProgramGuests } from '../support/guests/node-image.ts';
import { GUEST_TIMEOUTS, type ProgramGuest } from '../support/guests/program-guest.ts';
import { startV2Guest } from '../support/guests/v2-guest.ts';

const PROGRAM = 'session-v2-program';
/** No root can be put in place of the one that the guest has started with. */
const WITH_ROOT =
  '#!/bin/sh\nmkdir -p /root && mount --rbind / /root && cd /root && mount --move . / && exec chroot . "$@"\n';
const IN_BOX = 'box b sh /programs/with-root';
const why = whyNoProgramGuests({ tools: { crun: 'crun' } });
if (why !== undefined) process.stderr.write(`\nSKIPPED: containers of a user on cgroup v2: ${why}\n\n`);

vi.setConfig(GUEST_TIMEOUTS);

let guest: ProgramGuest | undefined;
let directory: string | undefined;
beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'v2-'));
  const programs = [new URL(`${PROGRAM}.ts`, import.meta.url)];
  guest = await startV2Guest(
    { name: 'v2-users', directory, programs, files: { 'with-root': Buffer.from(WITH_ROOT) } },
    ['crun', 'mount', 'sh'],
  );
});
afterAll(async () => {
  await guest?.[Symbol.asyncDispose]();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

describe.skipIf(why !== undefined)('a user on cgroup v2', () => {
  it('has limits, a freezer and counts in a group of its own', async () => {
    expect(await guest?.runProgram(PROGRAM, ['delegated'], IN_BOX)).toMatchObject({
      limits: ['33554432', '50', true],
      frozen: true,
      changed: '31457280',
      stats: expect.any(Number),
      left: [],
      plain: 3,
      notes: [
        expect.stringMatching(/^1 processes move to .*init.scope/),
        expect.stringMatching(/^enabled for the groups/),
      ],
    });
  });

  it('has none in one that is root’s, and containers all the same', async () => {
    expect(await guest?.runProgram(PROGRAM, ['roots'], IN_BOX)).toEqual({
      refused: expect.stringMatching(
        /<memtune>, <cputune>: limits are kept in a cgroup, and user 1000 may make none here/,
      ),
      plain: 3,
      notes: [
        expect.stringMatching(/'plain': memory and processes are not limited: this user may make no cgroup here/),
      ],
    });
  });
});
