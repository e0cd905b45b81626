/**
 * systemd as it really is: a guest that it runs, with machined and D-Bus. What is found out there, what a delegated scope may do, and that what we
 * start stays in its caller's scope. One boot for all tests; the program that runs inside is `systemd-guest-program.ts`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import type { ProgramGuest } from '../support/guests/program-guest.ts';
import { startSystemdGuest, whyNoSystemdGuest } from '../support/guests/systemd-guest.ts';

const PROGRAM = 'systemd-guest-program';
const SCOPE = /^0::\/system\.slice\/run-r[0-9a-f]+\.scope$/;

const why = whyNoSystemdGuest();
if (why !== undefined) process.stderr.write(`\nSKIPPED: systemd in a guest: ${why}\n\n`);

let guest: ProgramGuest | undefined;
let directory: string | undefined;
beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'systemd-'));
  guest = await startSystemdGuest({
    name: 'systemd',
    directory,
    programs: [new URL(`${PROGRAM}.ts`, import.meta.url)],
    files: { 'halt.img': readFileSync(await bootSectorImage('halt')) },
  });
});
afterAll(async () => {
  await guest?.[Symbol.asyncDispose]();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

async function run(scenario: string, prefix = ''): Promise<unknown> {
  return await guest?.runProgram(PROGRAM, [scenario], prefix);
}

describe.skipIf(why !== undefined)('under systemd', () => {
  it('a service is found to be one, with what systemd gives it', async () => {
    expect(await run('detect')).toMatchObject({
      mode: 'v2',
      namespace: 'host',
      systemd: true,
      type: 'domain',
      delegation: 'none',
      ownPath: '/system.slice/nestling-session.service',
    });
  });

  it('a scope with Delegate= is found to be delegated, and has all controllers', async () => {
    expect(await run('detect', 'systemd-run --scope -q -p Delegate=yes')).toMatchObject({
      systemd: true,
      delegation: 'systemd',
      processes: 1,
      ownPath: expect.stringMatching(/^\/system\.slice\/run-r.*\.scope$/),
      controllers: expect.arrayContaining(['cpu', 'cpuset', 'io', 'memory', 'pids']),
    });
  });

  it('a delegated scope limits its guests by itself, and is as it was afterwards', async () => {
    const seen = (await run('delegated', 'systemd-run --scope -q -p Delegate=yes')) as Record<string, string>;
    expect(seen).toMatchObject({
      scope: expect.stringMatching(SCOPE),
      back: seen['scope'],
      child: `${seen['scope']}/guest`,
      signal: 'SIGKILL',
    });
  });

  it('children and guests stay in the scope of their program, with its affinity, niceness and limits', async () => {
    const prefix = 'ulimit -n 777; systemd-run --scope -q --nice=5 taskset -c 1';
    const seen = (await run('context', prefix)) as Record<string, Record<string, string>>;
    expect(seen['own']).toMatchObject({
      cgroup: expect.stringMatching(SCOPE),
      cpus: '1',
      nice: '5',
      openFiles: expect.stringMatching(/^777\s+777$/),
    });
    expect(seen['child']).toEqual(seen['own']);
    expect(seen['qemu']).toEqual(seen['own']);
    expect(seen['threads']).toEqual([seen['own']?.['cgroup']]);
  });
});
