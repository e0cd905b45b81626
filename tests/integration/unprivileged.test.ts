/** What a user without rights gets of pools and networks: files, copies, streams, ports of a guest; and what root is needed for says so. */
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleScript } from '../support/bundle.ts';
import { linuxGuest } from '../support/guests/linux-guest.ts';

const NOBODY = 65_534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'] as const;

let dir: string;
let program: string;
beforeAll(async () => {
  program = await bundleScript(fileURLToPath(new URL('unprivileged-program.ts', import.meta.url)));
  dir = mkdtempSync(join(tmpdir(), 'nobody-'));
  chmodSync(tmpdir(), 0o711);
  chownSync(dir, NOBODY, NOBODY);
  const { kernel, initrd } = await linuxGuest();
  copyFileSync(kernel, join(dir, 'kernel'));
  copyFileSync(initrd, join(dir, 'initrd'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a user without rights', () => {
  it('has pools of files and ports of guests; what is root’s says how to get it', async (context) => {
    const [command, ...rest] = AS_NOBODY;
    if (process.getuid?.() !== 0 || spawnSync(command, [...rest, 'test', '-r', program]).status !== 0) {
      process.stderr.write(
        '\nSKIPPED: a user without rights: this takes root to become one, and a checkout that all may read\n\n',
      );
      context.skip();
      return;
    }
    const inside = ['ip link set lo up && exec "$@"', 'sh', ...AS_NOBODY, process.execPath, program, dir];
    const { stdout } = await promisify(execFile)('unshare', ['--net', 'sh', '-c', ...inside], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: dir, TMPDIR: dir, NESTLING_TEST_RUN: process.env['NESTLING_TEST_RUN'] },
    });
    expect(JSON.parse(stdout)).toEqual({
      uid: NOBODY,
      volumes: {
        isSame: true,
        capacity: 4,
        owned: expect.stringMatching(/: Operation not permitted/),
        elsewhere: expect.stringMatching(/^failed to create pool directory '\/usr\/nestling-pool': Permission denied/),
        files: ['clone', 'copy.qcow2', 'v'],
        left: [],
      },
      rootsOwn: expect.stringMatching(
        /mount .* failed .*\(only root may: run as root, use root's daemon at qemu:\/\/\/system/,
      ),
      answer: 'nestling',
      after: '',
    });
  });
});
