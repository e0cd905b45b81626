/**
 * The program that `process.test.ts` kills: it starts children, or makes things on the host, until SIGKILL comes. Bundled and run
 * by plain Node; not a test by itself.
 */

import { mkdirSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Ledger } from '../../src/core/ledger.ts';
import { readIdentity } from '../../src/core/ledger-owner.ts';
import { spawnChild } from '../../src/process/spawn.ts';

const [mode = '', marker = '', argument = '', base = ''] = process.argv.slice(2);
const modes: Readonly<Record<string, () => Promise<void>>> = { 'kill-self': killSelf, wait: waitForKill, hold, litter };
await modes[mode]?.();

/** Dies `argument` microseconds after the fork, before anything else of this program can run. */
async function killSelf(): Promise<void> {
  // With fds 3 to 9 taken there is no status channel, whose end would stop the chain too: the parent-death signal is on its own.
  const taken = Array.from({ length: 10 }, () => ({ path: '/dev/null', flags: 'r' }) as const);
  const stdio = base === 'no-status' ? { stdio: taken } : {};
  const start = spawnChild({ command: 'sleep', args: [marker], dieWithParent: true, ...stdio });
  const until = process.hrtime.bigint() + BigInt(argument) * 1000n;
  while (process.hrtime.bigint() < until);
  process.kill(process.pid, 'SIGKILL');
  await start;
}

async function waitForKill(): Promise<void> {
  await spawnChild({ command: 'sleep', args: [marker], dieWithParent: true, newSession: true });
  writeSync(1, 'started\n');
  await forever();
}

/** Dies while the child waits for leave to go on: no parent-death signal, only the status channel's end. */
async function hold(): Promise<void> {
  await spawnChild(
    { command: 'sleep', args: [marker], newSession: true },
    {
      beforeExec: async () => {
        writeSync(1, 'started\n');
        await forever();
      },
    },
  );
}

/** Makes directories, files, sockets and processes of all sorts as fast as it can, each in the ledger first. */
async function litter(): Promise<void> {
  const ledger = Ledger.open(argument);
  writeSync(1, 'started\n');
  for (let round = 0; ; round++) {
    const folder = join(base, `guest-${round}`);
    ledger.record('directory', { path: folder, root: base });
    mkdirSync(folder);
    ledger.record('file', { path: join(base, `file-${round}`) });
    writeFileSync(join(base, `file-${round}`), 'x');
    writeFileSync(join(folder, 'inner'), 'x');
    ledger.record('socket', { path: join(base, `sock-${round}`) });
    await new Promise<void>((resolve) => createServer().listen(join(base, `sock-${round}`), resolve));
    await spawnChild(
      { command: 'sleep', args: [marker], newSession: true },
      {
        beforeExec: (pid) => {
          const identity = readIdentity(pid);
          if (identity !== undefined) ledger.record('process', { ...identity });
        },
      },
    );
  }
}

async function forever(): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, 2 ** 30);
  });
}
