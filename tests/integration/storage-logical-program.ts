/** Run in a guest with LVM on a loop device of its: a volume group made, filled, stopped, found again and removed. */
import { existsSync, statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { connect, VirtError } from '../../src/index.ts';

const MIB = 1024 * 1024;
const [, , device = ''] = process.argv;
const XML = `<pool type='logical'><name>l</name><source><device path='${device}'/><name>vg</name></source><target><path>/dev/vg</path></target></pool>`;

async function codeOf(promise: Promise<unknown>): Promise<number> {
  return await promise.then(
    () => 0,
    (error: unknown) => (error instanceof VirtError ? error.code : -1),
  );
}

function volumeXml(name: string, rest: string): string {
  return `<volume><name>${name}</name><capacity unit='MiB'>8</capacity>${rest}</volume>`;
}

await using connection = await connect('qemu:///embed');
const { storage } = connection;
const { uuid } = await storage.define(XML);
await storage.build(uuid);
await storage.create(uuid);
const volume = await storage.createVolume(uuid, volumeXml('v', ''));
const content = Buffer.alloc(8 * MIB, 'logical');
await pipeline(Readable.from([content]), await storage.uploadVolume(volume));
const path = await storage.volumePath(volume);
const snapshot = await storage.createVolume(
  uuid,
  volumeXml('s', `<allocation unit='MiB'>4</allocation><backingStore><path>${path}</path></backingStore>`),
);
const below = Buffer.concat(await (await storage.downloadVolume(snapshot)).toArray());
const xml = await storage.volumeXmlDesc(snapshot);
await storage.deleteVolume(snapshot);
const clone = await storage.createVolume(uuid, volumeXml('c', ''), { from: volume });
const back = Buffer.concat(await (await storage.downloadVolume(clone)).toArray());
await storage.resizeVolume(clone, BigInt(12 * MIB));
const { capacity } = await storage.volumeInfo(clone);
const tooLarge = await codeOf(
  storage.createVolume(uuid, "<volume><name>t</name><capacity unit='GiB'>1</capacity></volume>"),
);
const sources = await storage.findSources('logical', undefined);
const isNode = statSync(path).isBlockDevice();
await storage.destroy(uuid);
const isStopped = !existsSync(path);
await storage.create(uuid);
const names = (await storage.listVolumes(uuid)).map(({ name }) => name).sort();
for (const name of names) await storage.deleteVolume(await storage.lookupVolume(uuid, name));
await storage.destroy(uuid);
await storage.delete(uuid);
const gone = await codeOf(storage.create(uuid));
process.stdout.write(
  JSON.stringify({
    isNode,
    snapshotHas: below.equals(content),
    snapshotIsOf: xml.includes(`<path>${path}</path>`),
    cloneHas: back.equals(content),
    capacity: Number(capacity) / MIB,
    tooLarge,
    found: sources.includes('<name>vg</name>'),
    isStopped,
    names,
    gone,
  }),
);
