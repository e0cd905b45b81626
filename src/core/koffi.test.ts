import { constants } from 'node:os';
import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import { loadKoffi } from './koffi.ts';

describe('koffi', () => {
  it('is the binary that koffi itself would take, and calls functions with any arguments', async () => {
    const loaded = await loadKoffi();
    expect(Reflect.get(loaded, 'version')).toBe(koffi.version);
    const libc = loaded.load(null);
    expect(libc.func('int getpid(void)')()).toBe(process.pid);
    const fcntl = libc.func('fcntl', 'int', ['int', 'int', '...']);
    expect(fcntl(-1, 1, 'int', 0)).toBe(-1);
    expect(loaded.errno()).toBe(constants.errno.EBADF);
  });
});
