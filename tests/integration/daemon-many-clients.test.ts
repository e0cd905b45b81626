/** 10,000 connections that say nothing, or half a message: they cost themselves and a bounded part of the daemon; its limits hold. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket, type NetConnectOpts, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { setSaslUser } from '../../src/daemon/sasl-users.ts';
import { type Connection, connect } from '../../src/index.ts';
import { encodeRawFrame, MessageType, PROGRAM_VERSION, Program, REMOTE_PROCEDURES } from '../../src/protocol/index.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { freePort } from '../support/free-port.ts';
import { pollUntil } from '../support/poll.ts';

const CONNECTIONS = 10_000;
/** Descriptors that either side needs besides. */
const SPARE_FDS = 500;
const BATCH = 100;
/** What a silent connection may cost the daemon: measured 17 KiB, Node’s buffers included. */
const MEMORY_OF_ONE_KIB = 32;

/** An authList call, and its first half. */
const CALL = encodeRawFrame(
  {
    program: Program.REMOTE,
    version: PROGRAM_VERSION,
    procedure: REMOTE_PROCEDURES.authList.number,
    type: MessageType.CALL,
    serial: 1,
    status: 0,
  },
  new Uint8Array(),
);

let dir: string;
let daemon: TestDaemon;
/** Somebody who is there before. */
let bystander: Connection;
const crowd: Socket[] = [];
let refused = 0;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'many-'));
});
afterEach(async () => {
  for (const socket of crowd.splice(0)) socket.destroy();
  refused = 0;
  await bystander?.close();
  await daemon?.[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

async function start(settings: string, ...args: string[]): Promise<void> {
  const config = join(dir, 'daemon.conf');
  writeFileSync(config, settings);
  daemon = await startDaemon(['--config', config, ...args]);
  bystander = await connect(daemon.uri);
}

/** One more; the kernel's queue of those that nobody has taken yet is short, so that some have to try again. */
async function joinOnce(options: NetConnectOpts): Promise<void> {
  for (;;) {
    const socket = connectSocket(options);
    const failure = await new Promise<NodeJS.ErrnoException | undefined>((resolve) =>
      socket.once('connect', () => resolve(undefined)).once('error', resolve),
    );
    if (failure === undefined) {
      socket.on('error', () => {});
      socket.once('close', () => refused++);
      socket.resume();
      crowd.push(socket);
      return;
    }
    if (failure.code !== 'EAGAIN') throw failure;
    await stillServed();
  }
}

/** All together, in turns with somebody who is served meanwhile. */
async function joinAll(count: number, options: NetConnectOpts): Promise<void> {
  while (crowd.length < count) {
    const size = Math.min(BATCH, count - crowd.length);
    await Promise.all(Array.from({ length: size }, async () => await joinOnce(options)));
    await stillServed();
  }
}

async function stillServed(): Promise<void> {
  expect(await bystander.listAllDomains()).toEqual([]);
}

/** Sockets that the daemon has open. */
function openSockets(): number {
  return readdirSync(`/proc/${daemon.pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${daemon.pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      // Closed since its folder was read.
      return false;
    }
  }).length;
}

function residentKiB(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]);
}

/** How many files a process may open at most, in words of the kernel: `Max open files  soft  hard  files`. */
function fdLimit(pid: number | 'self'): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]);
}

it('10,000 clients that say nothing: those beyond the limit are refused, the others hold nobody up', {
  timeout: 180_000,
}, async (context) => {
  const enough = CONNECTIONS + SPARE_FDS;
  if (fdLimit('self') < enough) context.skip(`needs ${enough} open files: ulimit -n ${enough}`);
  const limit = CONNECTIONS - 500;
  await start(`max_clients = ${limit}\n`);
  if (fdLimit(daemon.pid) < enough) execFileSync('prlimit', ['--pid', String(daemon.pid), `--nofile=${enough}`]);
  const [socketsBefore, memoryBefore] = [openSockets(), residentKiB()];

  await joinAll(CONNECTIONS, { path: daemon.socket });
  // The bystander is one of those that are let in.
  await pollUntil(
    () => refused >= CONNECTIONS - limit + 1,
    () => `${refused} were refused`,
  );
  expect(refused).toBe(CONNECTIONS - limit + 1);
  expect(openSockets() - socketsBefore).toBe(limit - 1);
  expect((residentKiB() - memoryBefore) / limit).toBeLessThan(MEMORY_OF_ONE_KIB);
  await expect(connect(daemon.uri)).rejects.toThrow();

  // Half of them stop in the middle of a message.
  for (const [index, socket] of crowd.entries()) if (index % 2 === 0) socket.write(CALL.subarray(0, CALL.length / 2));
  await stillServed();
  expect(refused).toBe(CONNECTIONS - limit + 1);

  for (const socket of crowd.splice(0)) socket.destroy();
  await pollUntil(
    () => openSockets() === socketsBefore,
    () => `${openSockets()} sockets, ${socketsBefore} before`,
  );
  await stillServed();
  await using newcomer = await connect(daemon.uri);
  expect(await newcomer.listAllDomains()).toEqual([]);
});

it('those who have not said who they are have a smaller limit, and do not use up that of the others', async () => {
  const port = await freePort();
  await setSaslUser(join(dir, 'users'), 'fred', 'sesame');
  await start(
    `listen_addr = "127.0.0.1"\ntcp_port = "${port}"\nsasl_users_file = "${dir}/users"\nmax_anonymous_clients = 7\n`,
    '--listen-tcp',
  );
  await joinAll(50, { host: '127.0.0.1', port });
  await pollUntil(
    () => refused >= 43,
    () => `${refused} were refused`,
  );
  await stillServed();
  expect(refused).toBe(43);
  // Whom the kernel vouches for is not one of them.
  await using known = await connect(daemon.uri);
  expect(await known.listAllDomains()).toEqual([]);

  // Places become free again.
  for (const socket of crowd) socket.destroy();
  await pollUntil(() => refused === crowd.length, 'they do not go');
  const [before, gone] = [refused, crowd.length];
  await joinAll(gone + 7, { host: '127.0.0.1', port });
  await stillServed();
  expect(refused).toBe(before);
});
