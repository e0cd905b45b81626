/** Storage of our daemon beside libvirtd, one client's calls to both: a volume through a stream, beside a plain copy too, and a refresh. */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { copyFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Connection, connect } from '../../src/index.ts';
import { startDaemon, type TestDaemon } from '../../tests/support/daemon.ts';
import { hasLibvirtd, startLibvirtd } from '../../tests/support/libvirtd.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Result, shareRow } from '../figures.ts';
import { startStreamFloor } from '../sides/stream-floor.ts';
import { NESTLING } from '../workplace.ts';

const MIB = 1024 * 1024;
const VOLUME_MIB = 256;
const VOLUMES = 1000;
/** Calls that one sample of a refresh is the mean of. */
const REFRESHES = 10;

export const STORAGE: Bench = {
  name: 'storage',
  summary: 'storage of the daemon beside libvirtd: a volume up and down, a refresh',
  measure: async (place, { rounds }) => {
    if (!hasLibvirtd()) return [{ what: 'storage', skipped: 'libvirtd is not installed' }];
    await using daemon = await startDaemon([], { cli: NESTLING });
    await using libvirtd = await startLibvirtd();
    const dir = place.folder('storage');
    try {
      const rows: Result[] = [...(await measureStreams(dir, daemon, libvirtd.uri, rounds))];
      rows.push(await measureRefresh(dir, daemon.uri, libvirtd.uri, rounds));
      return rows;
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
};

/** virsh on all sides, so that the client is the same; also with a server that has nothing to do, which no other can be faster than. */
async function measureStreams(
  dir: string,
  { uri: ours, socket }: TestDaemon,
  theirs: string,
  rounds: number,
): Promise<Result[]> {
  const floorSocket = join(dir, 'floor');
  await using _floor = await startStreamFloor(floorSocket, socket, VOLUME_MIB * MIB);
  const floor = `qemu+unix:///system?socket=${floorSocket}`;
  const file = join(dir, 'file');
  await writeFile(file, Buffer.alloc(VOLUME_MIB * MIB, 'x'));
  for (const [name, uri] of [
    ['ours', ours],
    ['theirs', theirs],
  ] as const) {
    await using connection = await connect(uri);
    const { storage } = connection;
    const { uuid } = await storage.createXml(poolXml(`s-${name}`, join(dir, name)), { build: true });
    await storage.createVolume(uuid, `<volume><name>v</name><capacity unit='MiB'>${VOLUME_MIB}</capacity></volume>`);
  }
  const rows: Result[] = [];
  for (const verb of ['vol-upload', 'vol-download']) {
    const other = (name: string): string => (verb === 'vol-upload' ? file : join(dir, `${name}.out`));
    const samples = await interleave(
      {
        ours: async () => await timeVirsh(ours, [verb, 'v', other('ours'), '--pool', 's-ours']),
        theirs: async () => await timeVirsh(theirs, [verb, 'v', other('theirs'), '--pool', 's-theirs']),
        floor: async () => await timeVirsh(floor, [verb, 'v', other('floor'), '--pool', 's-ours']),
        copy: async () => await timed(async () => await copyFile(file, join(dir, 'copy'))),
      },
      { rounds, warmUps: 1 },
    );
    rows.push(shareRow(`virsh ${verb} of ${VOLUME_MIB} MiB, beside libvirtd`, { ...samples, goal: 100 }));
    rows.push(
      shareRow(`virsh ${verb} of ${VOLUME_MIB} MiB, beside a plain copy`, {
        other: 'plain copy',
        ours: samples.ours,
        theirs: samples.copy,
        goal: 200,
      }),
      shareRow(`virsh ${verb} of ${VOLUME_MIB} MiB, beside a server that does nothing`, {
        other: 'a server that does nothing',
        ours: samples.ours,
        theirs: samples.floor,
        goal: Number.POSITIVE_INFINITY,
      }),
    );
  }
  return rows;
}

async function measureRefresh(dir: string, ours: string, theirs: string, rounds: number): Promise<Result> {
  const pool = join(dir, 'many');
  mkdirSync(pool);
  for (let index = 0; index < VOLUMES; index++) {
    await writeFile(join(pool, `v${index}`), '');
    await truncate(join(pool, `v${index}`), MIB);
  }
  await using one = await openPool(ours, pool);
  await using other = await openPool(theirs, pool);
  const samples = await interleave({ ours: one.refresh, theirs: other.refresh }, { rounds, warmUps: 2 });
  return shareRow(`refresh of a pool with ${VOLUMES} volumes, beside libvirtd`, { ...samples, goal: 100 / 3 });
}

async function openPool(uri: string, path: string): Promise<{ refresh: () => Promise<number> } & AsyncDisposable> {
  const connection: Connection = await connect(uri);
  const { storage } = connection;
  const { uuid } = await storage.createXml(poolXml('many', path));
  const many = async (): Promise<void> => {
    for (let call = 0; call < REFRESHES; call++) await storage.refresh(uuid);
  };
  return {
    refresh: async () => (await timed(many)) / REFRESHES,
    [Symbol.asyncDispose]: async () => await connection.close(),
  };
}

function poolXml(name: string, path: string): string {
  return `<pool type='dir'><name>${name}</name><target><path>${path}</path></target></pool>`;
}

async function timed(body: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await body();
  return performance.now() - begin;
}

async function timeVirsh(uri: string, args: readonly string[]): Promise<number> {
  return await timed(
    async () =>
      await new Promise<void>((resolve, reject) => {
        const child = spawn('virsh', ['-c', uri, ...args], { stdio: 'ignore' });
        child.once('error', reject);
        child.once('exit', (code) =>
          code === 0 ? resolve() : reject(new Error(`virsh ${args.join(' ')}: ${String(code)}`)),
        );
      }),
  );
}
