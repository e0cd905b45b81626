import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveReference } from '../../../image/image-reference.ts';
import { BackingChainError, findBackingChain, MAX_CHAIN_DEPTH } from './backing-chain.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'chain-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** Writes a qcow2 header, its names 96 KiB into the file where `far`. */
async function qcow2(name: string, backing = '', { format = '', far = false, dataFile = '' } = {}): Promise<string> {
  const header = Buffer.alloc(far ? 100 * 1024 : 1024);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(17, 20);
  header.writeUInt32BE(104, 100);
  if (dataFile !== '') header.writeBigUInt64BE(4n, 72);
  let offset = 104;
  for (const [type, text] of [
    [0xe279_2aca, format],
    [0x4441_5441, dataFile],
  ] as const) {
    if (text === '') continue;
    header.writeUInt32BE(type, offset);
    header.writeUInt32BE(Buffer.byteLength(text), offset + 4);
    header.write(text, offset + 8);
    offset += 8 + Math.ceil(Buffer.byteLength(text) / 8) * 8;
  }
  if (backing !== '') {
    const place = far ? 96 * 1024 : offset + 8;
    header.writeBigUInt64BE(BigInt(place), 8);
    header.writeUInt32BE(Buffer.byteLength(backing), 16);
    header.write(backing, place);
  }
  const path = join(dir, name);
  await writeFile(path, header);
  return path;
}

describe('a chain', () => {
  it('is followed to its end, relative to each image', async () => {
    await mkdir(join(dir, 'sub'));
    await writeFile(join(dir, 'base.img'), 'raw');
    const middle = await qcow2('sub/middle', '../base.img', { format: 'raw' });
    const top = await qcow2('top', 'sub/middle', { format: 'qcow2', far: true });
    const { backingStore } = await findBackingChain(top, 'qcow2');
    expect(backingStore).toMatchObject({
      type: 'file',
      format: { type: 'qcow2' },
      source: { file: middle },
      backingStore: { format: { type: 'raw' }, source: { file: join(dir, 'base.img') }, backingStore: {} },
    });
  });

  it('is empty below raw images, whatever a guest wrote into them', async () => {
    const top = await qcow2('top', '/etc/shadow', { format: 'raw' });
    expect(await findBackingChain(top, 'raw')).toEqual({ backingStore: {}, dataStore: undefined });
  });

  it('is never guessed where the guess would open more files', async () => {
    await writeFile(join(dir, 'secret'), 'x');
    await qcow2('base', 'secret');
    const top = await qcow2('top', 'base');
    await expect(findBackingChain(top, 'qcow2')).rejects.toThrow(/does not say which format.*rebase/);
    await qcow2('base');
    expect((await findBackingChain(top, 'qcow2')).backingStore.format).toEqual({ type: 'qcow2' });
  });

  it('carries data files', async () => {
    await writeFile(join(dir, 'data'), '');
    const top = await qcow2('top', '', { dataFile: 'data' });
    const { dataStore } = await findBackingChain(top, 'qcow2');
    expect(dataStore).toMatchObject({ type: 'file', format: { type: 'raw' }, source: { file: join(dir, 'data') } });
  });

  it('may not bite its own tail', async () => {
    await qcow2('a', 'link', { format: 'qcow2' });
    await symlink('a', join(dir, 'link'));
    await expect(findBackingChain(join(dir, 'a'), 'qcow2')).rejects.toThrow(/its own backing image/);
  });

  it(`may not be deeper than ${MAX_CHAIN_DEPTH}`, async () => {
    for (let index = 0; index <= MAX_CHAIN_DEPTH; index++)
      await qcow2(`i${index}`, `i${index + 1}`, { format: 'qcow2' });
    await expect(findBackingChain(join(dir, 'i0'), 'qcow2')).rejects.toThrow(/more than 200/);
  });

  it('that misses a file names it, its user and the errno', async () => {
    const top = await qcow2('top', 'gone', { format: 'raw' });
    const error = await findBackingChain(top, 'qcow2').catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(BackingChainError);
    expect(error).toMatchObject({ path: join(dir, 'gone'), errno: 'ENOENT' });
    expect(String(error)).toContain(top);
  });

  it('with a cut-off header says so', async () => {
    const path = join(dir, 'short');
    await writeFile(path, Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'));
    await expect(findBackingChain(path, 'qcow2')).rejects.toThrow(/short: qcow2 image: the file ends at 8 bytes/);
  });

  it('stops when it is told to', async () => {
    const top = await qcow2('top', 'b');
    await expect(findBackingChain(top, 'qcow2', { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow(
      'stop',
    );
  });
});

describe('references', () => {
  it.each([
    ['b', '/d/b', undefined],
    ['/b', '/b', undefined],
    ['file:/b', '/b', undefined],
    ['./a:b', '/d/a:b', undefined],
    ['json:{"driver":"qcow2","file":{"driver":"file","filename":"b"}}', '/d/b', 'qcow2'],
    ['json:{"driver":"raw","file.driver":"host_device","file.filename":"/dev/x"}', '/dev/x', 'raw'],
    ['json:{"driver":"file","filename":"/b"}', '/b', undefined],
  ])('%s', (reference, path, format) => {
    expect(resolveReference('/d/image', reference)).toEqual({ kind: 'local', path, format });
  });

  it.each(['nbd://h/x', 'json:{"driver":"nbd","host":"h"}', 'json:{"file":{"driver":"https","url":"u"}}', 'json:[1]'])(
    '%s is not local',
    (reference) => expect(resolveReference('/d/image', reference).kind).toBe('remote'),
  );

  it('that are damaged name the image', () => {
    expect(() => resolveReference('/d/image', 'json:{')).toThrow(/\/d\/image/);
  });

  it('to other hosts have to be described', async () => {
    const top = await qcow2('top', 'nbd://h/x', { format: 'raw' });
    await expect(findBackingChain(top, 'qcow2')).rejects.toThrow(/<backingStore>/);
  });
});
