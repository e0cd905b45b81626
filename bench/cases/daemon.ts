/** Our daemon beside libvirtd, both asked by the same client over their UNIX sockets; each figure is our share of libvirtd's time. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { randomUuid } from '../../src/core/random.ts';
import { type Connection, connect } from '../../src/index.ts';
import { REMOTE_PROCEDURES as P } from '../../src/protocol/index.ts';
import { authenticate } from '../../src/rpc/client/authenticate.ts';
import { RpcClient } from '../../src/rpc/client/rpc-client.ts';
import { startDaemon } from '../../tests/support/daemon.ts';
import { domainXml } from '../../tests/support/domain-xml.ts';
import { type BootSector, copyBootSectorImage } from '../../tests/support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../../tests/support/libvirtd.ts';
import type { Bench } from '../bench.ts';
import { interleave, quantile, type Result, type Row, shareRow, summarize } from '../figures.ts';
import { NESTLING, type Workplace } from '../workplace.ts';

const DOMAINS = 1000;
/** Defined without a pause; the sides take turns. */
const BATCH = 100;
const WRITERS = 10;
const CALLS = 1000;
const WINDOW = 64;
const CLIENTS = 50;
/** Each starts a server of its own. */
const COLD_ROUNDS = 7;
/** One thread of ours beside all of libvirtd's. */
const AT_ONCE_GOAL = 125;
/** MiB. */
const RSS_GOAL = 150;

/** A server under measurement. */
interface Side {
  readonly uri: string;
  readonly socket: string;
  readonly pid: () => number;
  readonly connection: Connection;
  readonly client: RpcClient;
}

export const DAEMON: Bench = {
  name: 'daemon',
  summary: 'nestling daemon beside libvirtd: calls, lists, definitions, starts',
  measure: async (place, { rounds }) => {
    if (!hasLibvirtd()) return [{ what: 'the daemon', skipped: 'libvirtd is not installed' }];
    await using daemon = await startDaemon([], { cli: NESTLING });
    await using libvirtd = await startLibvirtd();
    await using ours = await openSide(daemon.uri, daemon.socket, () => daemon.pid);
    await using theirs = await openSide(libvirtd.uri, libvirtd.socket, () => libvirtd.pid);
    const rows: Result[] = [];
    const compare = async (
      what: string,
      measure: (side: Side) => Promise<number>,
      goal: number,
      count = rounds,
    ): Promise<void> => {
      const samples = await interleave(
        { ours: () => measure(ours), theirs: () => measure(theirs) },
        { rounds: count, warmUps: count > 3 ? 2 : 0 },
      );
      rows.push(shareRow(what, { ...samples, goal }));
    };
    const probe = await define(place, [ours, theirs]);
    await compare(`${CALLS} calls of domain.info, one after the other`, (side) => timeCalls(side, probe), 100);
    await compare(`${CALLS} calls of getLibVersion, ${WINDOW} at a time`, (side) => timePipelined(side), 25);
    await compare(`p99 of domain.info with ${CLIENTS} clients`, (side) => timeMany(side, probe), 100);
    await compare('virsh create of a small guest, warm', (side) => timeCreate(side, place), 100 / 3);
    await compare('power-off of a guest to its STOPPED event', (side) => timePowerOff(side, place), 20);
    await compare(`defining ${DOMAINS} domains, ${BATCH} in a row`, (side) => timeDefine(side), 100, DOMAINS / BATCH);
    await compare(
      `defining ${BATCH} domains with ${WRITERS} clients at once`,
      (side) => timeDefineAtOnce(side),
      AT_ONCE_GOAL,
    );
    await compare(`virsh list --all of ${DOMAINS} domains`, (side) => timeVirsh(side, ['list', '--all']), 100);
    rows.push(rssRow(ours, theirs));
    const restarts = await interleave(
      { ours: () => timeRestart(daemon), theirs: () => timeRestart(libvirtd) },
      { rounds, warmUps: 1 },
    );
    rows.push(shareRow(`start with ${DOMAINS} domains to the first list`, { ...restarts, goal: 100 }));
    const cold = await interleave(
      {
        ours: async () => {
          await using fresh = await startDaemon([], {
            cli: NESTLING,
            env: { NESTLING_CACHE_DIR: place.folder('cache') },
          });
          return await timeColdCreate(fresh.uri, place);
        },
        theirs: async () => {
          await using fresh = await startLibvirtd();
          return await timeColdCreate(fresh.uri, place);
        },
      },
      { rounds: Math.min(rounds, COLD_ROUNDS), warmUps: 1 },
    );
    rows.push(shareRow('virsh create of a small guest, nothing cached', { ...cold, goal: 100 / 3 }));
    return rows;
  },
};

async function openSide(uri: string, socket: string, pid: () => number): Promise<Side & AsyncDisposable> {
  const connection = await connect(uri);
  const client = await rawClient(socket);
  return {
    uri,
    socket,
    pid,
    connection,
    client,
    [Symbol.asyncDispose]: async () => {
      await client[Symbol.asyncDispose]();
      await connection.close();
    },
  };
}

async function rawClient(path: string): Promise<RpcClient> {
  const stream = connectSocket(path);
  await new Promise<void>((resolve, reject) => stream.once('connect', resolve).once('error', reject));
  const client = new RpcClient(stream, { name: path });
  await authenticate(client, { encrypted: true });
  await client.call(P.connectOpen, { name: 'qemu:///system', flags: 0 });
  return client;
}

/** One domain that both have, for questions about it. */
async function define(place: Workplace, sides: readonly Side[]): Promise<Uint8Array> {
  const uuid = randomUuid();
  for (const { connection } of sides)
    await connection.defineDomain(domainXml({ name: `probe-${place.dir.slice(-6)}`, uuid }));
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

async function timeCalls({ client }: Side, uuid: Uint8Array): Promise<number> {
  const dom = { name: '', uuid, id: -1 };
  const startedMs = performance.now();
  for (let call = 0; call < CALLS; call++) await client.call(P.domainGetInfo, { dom });
  return performance.now() - startedMs;
}

async function timePipelined({ client }: Side): Promise<number> {
  let left = CALLS;
  const startedMs = performance.now();
  const lane = async (): Promise<void> => {
    while (left-- > 0) await client.call(P.connectGetLibVersion, {});
  };
  await Promise.all(Array.from({ length: WINDOW }, lane));
  return performance.now() - startedMs;
}

async function timeMany({ socket }: Side, uuid: Uint8Array): Promise<number> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => rawClient(socket)));
  const samples: number[] = [];
  const dom = { name: '', uuid, id: -1 };
  await Promise.all(
    clients.map(async (client) => {
      for (let call = 0; call < 20; call++) {
        const startedMs = performance.now();
        await client.call(P.domainGetInfo, { dom });
        samples.push(performance.now() - startedMs);
      }
    }),
  );
  await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  return quantile(samples, 0.99);
}

/** Its console is a terminal, as virt-install makes it. */
async function smallGuest(place: Workplace, kind: BootSector): Promise<{ name: string; xml: string; xmlPath: string }> {
  const dir = place.folder(kind);
  const name = `small-${kind}`;
  const xml = domainXml({ name, disks: [{ path: await copyBootSectorImage(kind, dir), readonly: true }] });
  const xmlPath = join(dir, 'guest.xml');
  writeFileSync(xmlPath, xml);
  return { name, xml, xmlPath };
}

async function timeCreate(side: Side, place: Workplace): Promise<number> {
  const guest = await smallGuest(place, 'halt');
  const elapsedMs = await timeVirsh(side, ['create', guest.xmlPath]);
  await (await side.connection.lookupDomainByName(guest.name)).destroy();
  return elapsedMs;
}

/** From the start of the process to the answer; its connections end with it. */
async function timeRestart(server: { uri: string; stop(): Promise<unknown>; start(): Promise<void> }): Promise<number> {
  await server.stop();
  const startedMs = performance.now();
  await server.start();
  const connection = await connect(server.uri);
  const found = await connection.listAllDomains();
  const elapsedMs = performance.now() - startedMs;
  await connection.close();
  if (found.length < DOMAINS) throw new Error(`${server.uri} has lost domains: ${found.length} are left`);
  return elapsedMs;
}

async function timeColdCreate(uri: string, place: Workplace): Promise<number> {
  const guest = await smallGuest(place, 'halt');
  const elapsedMs = await timeVirsh({ uri }, ['create', guest.xmlPath]);
  await using connection = await connect(uri);
  await (await connection.lookupDomainByName(guest.name)).destroy();
  return elapsedMs;
}

async function timePowerOff({ connection }: Side, place: Workplace): Promise<number> {
  const guest = await smallGuest(place, 'poweroff');
  const stop = new AbortController();
  const times = (async () => {
    let offMs = 0;
    for await (const event of connection.events({ signal: stop.signal })) {
      if (event.event !== 'lifecycle' || event.domain.name !== guest.name) continue;
      if (event.type === 'shutdown') offMs = performance.now();
      if (event.type === 'stopped') return performance.now() - offMs;
    }
    return Number.NaN;
  })();
  await connection.createDomain(guest.xml);
  const elapsedMs = await times;
  stop.abort();
  return elapsedMs;
}

async function timeDefine({ connection }: Pick<Side, 'connection'>, count = BATCH): Promise<number> {
  const run = randomUuid().slice(0, 8);
  const startedMs = performance.now();
  for (let index = 0; index < count; index++)
    await connection.defineDomain(domainXml({ name: `many-${run}-${index}` }));
  return performance.now() - startedMs;
}

async function timeDefineAtOnce({ uri }: Side): Promise<number> {
  const connections = await Promise.all(Array.from({ length: WRITERS }, () => connect(uri)));
  const startedMs = performance.now();
  await Promise.all(connections.map((connection) => timeDefine({ connection }, BATCH / WRITERS)));
  const elapsedMs = performance.now() - startedMs;
  await Promise.all(connections.map((connection) => connection.close()));
  return elapsedMs;
}

async function timeVirsh({ uri }: Pick<Side, 'uri'>, args: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const child = spawn('virsh', ['-c', uri, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`virsh ${args.join(' ')} failed with status ${String(code)}`);
  return performance.now() - startedMs;
}

function rssRow(ours: Side, theirs: Side): Row {
  const own = summarize('nestling MiB', [rssMiB(ours.pid())]);
  return {
    what: `resident memory with ${DOMAINS} domains, MiB`,
    unit: '',
    ours: own,
    others: [summarize('libvirtd MiB', [rssMiB(theirs.pid())])],
    figure: { name: 'MiB', value: own.median, unit: '' },
    goal: RSS_GOAL,
  };
}

function rssMiB(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
}
