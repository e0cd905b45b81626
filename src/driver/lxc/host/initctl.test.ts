import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { endianness, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askInit, formatRequest } from './initctl.ts';

let folder = '';
let root = '';
let hostRoot = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'initctl-'));
  root = join(folder, 'proc/7/root');
  hostRoot = join(folder, 'host');
  for (const dir of ['run', 'dev', 'etc']) {
    mkdirSync(join(root, dir), { recursive: true });
    mkdirSync(join(hostRoot, dir), { recursive: true });
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ask = (): boolean => askInit(7, 'poweroff', { procRoot: join(folder, 'proc'), hostRoot });

/** Reads what arrives at a FIFO, as init does. */
function listen(path: string): { read: () => Buffer | undefined; close: () => void } {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  return {
    read: () => {
      const buffer = Buffer.alloc(1000);
      try {
        return buffer.subarray(0, readSync(fd, buffer));
      } catch {
        return undefined;
      }
    },
    close: () => closeSync(fd),
  };
}

function makeFifo(path: string): string {
  execFileSync('mkfifo', [path]);
  return path;
}

describe('askInit', () => {
  it('sends one request of the size that inits read', () => {
    const init = listen(makeFifo(join(root, 'run/initctl')));
    try {
      expect(ask()).toBe(true);
      expect(init.read()).toEqual(formatRequest('poweroff'));
    } finally {
      init.close();
    }
  });

  it('finds the older places', () => {
    const init = listen(makeFifo(join(root, 'dev/initctl')));
    try {
      expect(ask()).toBe(true);
      expect(init.read()).toHaveLength(384);
    } finally {
      init.close();
    }
  });

  it("does not follow links, neither of the file nor of a folder, to the host's", () => {
    const host = makeFifo(join(hostRoot, 'run/initctl'));
    const init = listen(host);
    try {
      symlinkSync(host, join(root, 'run/initctl'));
      rmSync(join(root, 'dev'), { recursive: true });
      symlinkSync(join(hostRoot, 'run'), join(root, 'dev'));
      expect(ask()).toBe(false);
      expect(init.read()).toBeUndefined();
    } finally {
      init.close();
    }
  });

  it("does not ask the host's init where the root is shared", () => {
    const host = makeFifo(join(hostRoot, 'run/initctl'));
    const init = listen(host);
    try {
      rmSync(root, { recursive: true });
      symlinkSync(hostRoot, root);
      expect(ask()).toBe(false);
      expect(init.read()).toBeUndefined();
    } finally {
      init.close();
    }
  });

  it.each([
    ['nothing is there', () => {}],
    ['nobody reads it', () => void makeFifo(join(root, 'run/initctl'))],
    ['it is a file', () => writeFileSync(join(root, 'run/initctl'), '')],
    ['it is a folder', () => mkdirSync(join(root, 'run/initctl'))],
    ['the container has ended', () => rmSync(join(folder, 'proc/7'), { recursive: true })],
  ])('says so where %s', (_, prepare) => {
    prepare();
    expect(ask()).toBe(false);
  });
});

describe('formatRequest', () => {
  it('is magic, command, level as a digit, no delay', () => {
    const bytes = formatRequest('reboot');
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const ints = [0, 4, 8, 12].map((offset) => view.getInt32(offset, endianness() === 'LE'));
    expect(ints).toEqual([0x03091969, 1, '6'.charCodeAt(0), 0]);
    expect(bytes.subarray(16).every((byte) => byte === 0)).toBe(true);
  });
});
