import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { removeTree } from '../core/fs.ts';
import { copyForeignFd } from './foreign-fd.ts';

describe('a descriptor of another process', () => {
  it('is had, and is the same file', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'foreign-fd-'));
    const file = openSync(join(dir, 'file'), 'w');
    const child = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', file] });
    try {
      const fd = await copyForeignFd(child.pid ?? 0, 3);
      writeSync(file, 'one ');
      writeSync(fd, 'two');
      closeSync(fd);
      expect(readFileSync(join(dir, 'file'), 'utf8')).toBe('one two');
      await expect(copyForeignFd(child.pid ?? 0, 99)).rejects.toMatchObject({ errno: 'EBADF' });
    } finally {
      child.kill('SIGKILL');
      closeSync(file);
      await removeTree(dir, { root: tmpdir() });
    }
  });

  it('is not had of a process that is not there', async () => {
    await expect(copyForeignFd(2 ** 30, 3)).rejects.toThrow(
      /^cannot have descriptor 3 of process 1073741824: pidfd_open: /,
    );
  });
});
