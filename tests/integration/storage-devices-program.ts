/**
 * Run in a mount namespace of its own, with a loop device that the test has made: pools on what the kernel makes of it. `disk` and `fs` print
 * what they saw; `fs-killed` mounts a pool's file system and waits to be killed; `collect` is the next program on the same root.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readMounts } from '../../src/host/mounts.ts';
import { connect, type StorageOperations, VirtError } from '../../src/index.ts';

const MIB = 1024 * 1024;
const [, , scenario = '', device = '', dir = ''] = process.argv;
const target = join(dir, 'mounted');
const isMounted = (): boolean => readMounts().some(({ mountPoint }) => mountPoint === target);

const SCENARIOS: Readonly<Record<string, () => Promise<unknown>>> = {
  disk: async () => {
    await using connection = await connect('qemu:///embed');
    return await partitions(connection.storage);
  },
  fs: async () => {
    await using connection = await connect('qemu:///embed');
    return await fileSystem(connection.storage);
  },
  'fs-killed': async () => {
    const connection = await connect(`qemu:///embed?root=${join(dir, 'root')}`);
    await connection.storage.createXml(fsPoolXml(), { build: true, noOverwrite: true });
    process.stdout.write(`${isMounted()}\n`);
    return await new Promise(() => setInterval(() => {}, 1000));
  },
  collect: async () => {
    const before = isMounted();
    const connection = await connect(`qemu:///embed?root=${join(dir, 'root')}`);
    await connection.storage.list();
    await connection.close();
    return { before, after: isMounted() };
  },
};

async function partitions(storage: StorageOperations): Promise<unknown> {
  const xml = `<pool type='disk'><name>d</name><source><device path='${device}'/><format type='gpt'/></source><target><path>/dev</path></target></pool>`;
  const { uuid } = await storage.define(xml);
  await storage.build(uuid);
  await storage.create(uuid);
  const name = `${device.slice('/dev/'.length)}p1`;
  const wrong = await codeOf(storage.createVolume(uuid, volumeXml('other', 8)));
  const volume = await storage.createVolume(uuid, volumeXml(name, 8));
  const second = await storage.createVolume(uuid, volumeXml(name.replace(/1$/, '2'), 4));
  const tooLarge = await codeOf(storage.createVolume(uuid, volumeXml(name.replace(/1$/, '3'), 1024)));
  const content = Buffer.alloc(8 * MIB, 'disk');
  await pipeline(Readable.from([content]), await storage.uploadVolume(volume));
  const back = Buffer.concat(await (await storage.downloadVolume(volume)).toArray());
  const again = await codeOf(storage.build(uuid));
  await storage.deleteVolume(second);
  await storage.refresh(uuid);
  const { capacity, type } = await storage.volumeInfo(volume);
  const names = (await storage.listVolumes(uuid)).map(({ name: one }) => one);
  const isNode = existsSync(volume.key) && statSync(volume.key).isBlockDevice();
  await storage.deleteVolume(volume);
  await storage.destroy(uuid);
  const notEmpty = await codeOf(storage.build(uuid));
  await storage.delete(uuid);
  return {
    wrong,
    tooLarge,
    isSame: back.equals(content),
    again,
    names: names.map((one) => one === name),
    capacity: Number(capacity) / MIB,
    type,
    isNode,
    isGone: !existsSync(volume.key),
    notEmpty,
  };
}

async function fileSystem(storage: StorageOperations): Promise<unknown> {
  const { uuid } = await storage.define(fsPoolXml());
  await storage.build(uuid, { noOverwrite: true });
  await storage.create(uuid);
  const volume = await storage.createVolume(uuid, volumeXml('v', 2));
  await pipeline(Readable.from([Buffer.alloc(2 * MIB, 'f')]), await storage.uploadVolume(volume));
  const head = readFileSync(join(target, 'v'), 'latin1').slice(0, 3);
  writeFileSync(join(target, 'other'), 'x');
  await storage.refresh(uuid);
  const names = (await storage.listVolumes(uuid)).map(({ name }) => name).sort();
  const mounted = isMounted();
  await storage.destroy(uuid);
  const unmounted = !isMounted();
  const notEmpty = await codeOf(storage.build(uuid, { noOverwrite: true }));
  await storage.create(uuid);
  const kept = (await storage.listVolumes(uuid)).length === names.length;
  await storage.destroy(uuid);
  return { head, names, mounted, unmounted, notEmpty, kept };
}

function fsPoolXml(): string {
  const source = `<source><device path='${device}'/><format type='ext4'/></source>`;
  return `<pool type='fs'><name>fs</name>${source}<target><path>${target}</path></target></pool>`;
}

function volumeXml(name: string, sizeMiB: number): string {
  return `<volume><name>${name}</name><capacity unit='MiB'>${sizeMiB}</capacity></volume>`;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => '',
    (error: unknown) => (error instanceof VirtError ? `${error.code}: ${error.message.split(':')[0]}` : String(error)),
  );
}

process.stdout.write(JSON.stringify(await SCENARIOS[scenario]?.()));
