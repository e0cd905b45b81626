import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { directReaders, directWriter, openDirect } from './direct-io.ts';
import { compressInto, decompressFrom, saveFormatOf } from './save-compression.ts';

let scratchDir: string;
beforeEach(() => {
  scratchDir = mkdtempSync(join(tmpdir(), 'chain-'));
});
afterEach(() => rmSync(scratchDir, { recursive: true, force: true }));

/** All that comes out of a descriptor, as text. */
function drain(fd: number): string {
  const chunk = Buffer.alloc(4096);
  let text = '';
  for (let size = readSync(fd, chunk); size > 0; size = readSync(fd, chunk)) text += chunk.toString('latin1', 0, size);
  return text;
}

/** The same programs, on files that no test host refuses: what is direct is only their flags. */
function throughStages(file: string, offset: number): string {
  const [first, second] = directReaders({ offset });
  const buffered = (args: readonly string[] = []): string[] => args.map((arg) => arg.replace('direct,', ''));
  const { stdout } = spawnSync(first?.program ?? '', buffered(first?.args), {
    input: undefined,
    stdio: [openSync(file, 'r'), 'pipe', 'inherit'],
  });
  return second === undefined
    ? stdout.toString()
    : spawnSync(second.program, second.args, { input: stdout }).stdout.toString();
}

describe('a stream on its way into a file and back', () => {
  it('goes straight where nothing is to be done to it', async () => {
    expect(await compressInto({ fd: 1 }, 'raw', { scratchDir })).toBeUndefined();
    expect(await decompressFrom({ fd: 0 }, 'raw', { scratchDir })).toBeUndefined();
  });

  it('comes back as it was through a program', async () => {
    const path = join(scratchDir, 'file');
    const fd = openSync(path, 'w+');
    writeSync(fd, 'HEAD');
    {
      await using filter = await compressInto({ fd }, 'gzip', { scratchDir });
      writeSync(filter?.fd ?? -1, 'the state');
      filter?.handedOver();
      await filter?.finished();
    }
    closeSync(fd);
    expect(readFileSync(path, 'latin1')).toMatch(/^HEAD\x1f\x8b/);
    const reader = openSync(path, 'r');
    readSync(reader, Buffer.alloc(4));
    await using filter = await decompressFrom({ fd: reader }, 'gzip', { scratchDir });
    expect(drain(filter?.fd ?? -1)).toBe('the state');
    await filter?.finished();
    closeSync(reader);
  });

  it('says what is wrong with what it reads', async () => {
    const path = join(scratchDir, 'file');
    writeFileSync(path, 'no gzip at all');
    const fd = openSync(path, 'r');
    await using filter = await decompressFrom({ fd }, 'gzip', { scratchDir });
    expect(drain(filter?.fd ?? -1)).toBe('');
    await expect(filter?.finished()).rejects.toThrow(/gzip ended with status 1: .*not in gzip format/);
    expect(filter?.broken.aborted).toBe(true);
    closeSync(fd);
  });

  it('is compressed by what there is only', () => {
    expect(() => saveFormatOf('rar')).toThrow(/Invalid save image format 'rar'/);
  });
});

describe('a stream past the cache', () => {
  it('is written from an aligned place on, and the rest of the file stays', () => {
    expect(directWriter({ offset: 8192 })).toEqual({
      program: 'dd',
      args: ['bs=1M', 'seek=8192', 'oflag=direct,seek_bytes', 'iflag=fullblock', 'conv=notrunc', 'status=none'],
    });
    expect(() => directWriter({ offset: 100 })).toThrow(/cannot begin at 100/);
  });

  it.each([0, 4096, 92, 65_701])('is read from wherever it begins: %d', (offset) => {
    const path = join(scratchDir, 'file');
    writeFileSync(path, `${'x'.repeat(offset)}the state`);
    expect(throughStages(path, offset)).toBe('the state');
  });

  it('is refused with the reason where the file system has no such access', () => {
    expect(() => openDirect('/proc/version', 'read', 0)).toThrow(
      /past the host's cache: EINVAL.*leave --bypass-cache out/,
    );
    expect(() => openDirect(join(scratchDir, 'none'), 'read', 0)).toThrow(
      /failed to open file .*none' past the host's cache: ENOENT/,
    );
  });
});
