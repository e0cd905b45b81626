/** Run as a user without any rights: a pool of files with its volumes, what only root may, a guest whose port is reached through QEMU's own network. */
import { readdirSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Connection, connect, VirtError } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { StreamText } from '../support/until.ts';

const MIB = 1024 * 1024;
const PORT = 2222;
const [, , dir = ''] = process.argv;

async function refusal(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'done',
    (error: unknown) => (error instanceof VirtError ? error.message : String(error)),
  );
}

async function volumes({ storage }: Connection): Promise<unknown> {
  const path = join(dir, 'pool');
  const { uuid } = await storage.createXml(
    `<pool type='dir'><name>p</name><target><path>${path}</path></target></pool>`,
    { build: true },
  );
  const volume = await storage.createVolume(uuid, '<volume><name>v</name><capacity unit="MiB">2</capacity></volume>');
  const content = Buffer.alloc(2 * MIB, 'unprivileged');
  await pipeline(Readable.from([content]), await storage.uploadVolume(volume));
  const copy = await storage.createVolume(
    uuid,
    "<volume><name>copy.qcow2</name><capacity unit='MiB'>2</capacity><target><format type='qcow2'/></target></volume>",
    { from: volume },
  );
  const clone = await storage.createVolume(
    uuid,
    "<volume><name>clone</name><capacity unit='MiB'>2</capacity><target><format type='raw'/></target></volume>",
    { from: copy },
  );
  const back = Buffer.concat(await (await storage.downloadVolume(clone)).toArray());
  await storage.resizeVolume(copy, BigInt(4 * MIB));
  const { capacity } = await storage.volumeInfo(copy);
  const owned = await refusal(
    storage.createVolume(
      uuid,
      '<volume><name>o</name><capacity>1</capacity><target><permissions><owner>0</owner><group>0</group><mode>0600</mode></permissions></target></volume>',
    ),
  );
  const elsewhere = await refusal(
    storage.createXml("<pool type='dir'><name>q</name><target><path>/usr/nestling-pool</path></target></pool>", {
      build: true,
    }),
  );
  const files = readdirSync(path).sort();
  for (const one of [volume, copy, clone]) await storage.deleteVolume(one);
  return {
    isSame: back.equals(content),
    capacity: Number(capacity) / MIB,
    owned,
    elsewhere,
    files,
    left: readdirSync(path),
  };
}

async function rootsOwn({ storage }: Connection): Promise<string> {
  const source = "<source><device path='/dev/null'/><format type='ext4'/></source>";
  const xml = `<pool type='fs'><name>m</name>${source}<target><path>${join(dir, 'm')}</path></target></pool>`;
  return await refusal(storage.createXml(xml, { build: true }));
}

async function forwarded(connection: Connection): Promise<string> {
  const forward = `<portForward proto='tcp' address='127.0.0.1'><range start='${PORT}' to='8080'/></portForward>`;
  const guest = await connection.createDomain(
    domainXml({
      name: 'forwarded',
      memoryMiB: 128,
      kernel: join(dir, 'kernel'),
      initrd: join(dir, 'initrd'),
      cmdline: 'console=ttyS0 quiet panic=-1 nestling.net=dhcp nestling.run="nc -l -p 8080 -e hostname"',
      devices: `<interface type='user'><model type='virtio'/>${process.argv[3] ?? ''}${forward}</interface>`,
    }),
  );
  const text = new StreamText(guest.console().stream());
  await text.until('nestling guest ready', { signal: AbortSignal.timeout(120_000) });
  // Who listens in there does so in a moment: until then the connection ends without a word.
  for (let answer = ''; ; ) {
    answer = await ask();
    if (answer !== '') return answer.trim();
  }
}

async function ask(): Promise<string> {
  return await new Promise((resolve) => {
    let answer = '';
    const socket = connectTcp(PORT, '127.0.0.1');
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}

await using connection = await connect('qemu:///embed');
const result = {
  uid: process.getuid?.(),
  volumes: await volumes(connection),
  rootsOwn: await rootsOwn(connection),
  answer: await forwarded(connection),
};
await connection.close();
process.stdout.write(JSON.stringify({ ...result, after: await ask() }));
