/**
 * Run in a mount namespace of its own: fills a small file system in the middle of an upload, and runs a pool on a file system that it mounts.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readMounts } from '../../src/host/mounts.ts';
import { connect, VirtError } from '../../src/index.ts';

const MIB = 1024 * 1024;
const [, , dir = ''] = process.argv;
const full = join(dir, 'full');
mkdirSync(full);
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', full]);

const codeOf = async (promise: Promise<unknown>): Promise<number> =>
  await promise.then(
    () => 0,
    (error: unknown) => (error instanceof VirtError ? error.code : -1),
  );

await using connection = await connect('qemu:///embed');
const { storage } = connection;
const { uuid } = await storage.createXml(
  `<pool type='dir'><name>full</name><target><path>${full}</path></target></pool>`,
);
const volume = await storage.createVolume(uuid, `<volume><name>v</name><capacity>4096</capacity></volume>`);
const pieces = Array.from({ length: 8 }, () => Buffer.alloc(MIB, 1));
const upload = await codeOf(pipeline(Readable.from(pieces), await storage.uploadVolume(volume)));
const create = await codeOf(
  storage.createVolume(uuid, `<volume><name>w</name><capacity unit='MiB'>3</capacity></volume>`),
);
const files = readdirSync(full);
await storage.wipeVolume(volume);
await storage.deleteVolume(volume);
const again = await storage.createVolume(uuid, `<volume><name>v</name><capacity unit='MiB'>3</capacity></volume>`);
await pipeline(Readable.from(pieces.slice(0, 3)), await storage.uploadVolume(again));
const uploadedAgain = (await storage.volumeInfo(again)).capacity === BigInt(3 * MIB);

// A file system of ours on a loop device of ours.
const image = join(dir, 'image');
const target = join(dir, 'mounted');
execFileSync('truncate', ['-s', '8M', image]);
const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
let mounted: string[] = [];
try {
  const source = `<source><device path='${device}'/><format type='ext4'/></source>`;
  const xml = `<pool type='fs'><name>fs</name>${source}<target><path>${target}</path></target></pool>`;
  const fs = await storage.createXml(xml, { build: true, noOverwrite: true });
  writeFileSync(join(target, 'inside'), 'x');
  await storage.refresh(fs.uuid);
  mounted = (await storage.listVolumes(fs.uuid)).map(({ name }) => name).filter((name) => name !== 'lost+found');
} finally {
  await connection.close();
  execFileSync('losetup', ['--detach', device]);
}
const unmounted = !readMounts().some(({ mountPoint }) => mountPoint === target);
process.stdout.write(JSON.stringify({ upload, create, files, uploadedAgain, mounted, unmounted }));
