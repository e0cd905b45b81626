import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../core/errors.ts';
import { HookScripts } from './hook-scripts.ts';

describe('hook scripts', () => {
  let dir: string;
  let hooks: HookScripts;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'hooks-'));
    mkdirSync(join(dir, 'a/qemu.d'), { recursive: true });
    mkdirSync(join(dir, 'b'));
    hooks = new HookScripts([join(dir, 'a'), join(dir, 'b'), join(dir, 'missing')]);
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const script = (path: string, text: string, mode = 0o755): void => {
    writeFileSync(join(dir, path), `#!/bin/sh\n${text}\n`);
    chmodSync(join(dir, path), mode);
  };

  it('are nothing where there are none, or none that can run', async () => {
    expect(hooks.has('qemu')).toBe(false);
    script('a/qemu', 'exit 1', 0o644);
    expect(hooks.has('qemu')).toBe(false);
    expect(await hooks.run({ driver: 'qemu', object: 'g', operation: 'start' })).toBe('');
  });

  it('get four arguments and the XML, the main one first, the others by name', async () => {
    const said = join(dir, 'said');
    for (const path of ['a/qemu.d/20-x', 'a/qemu', 'b/qemu', 'a/qemu.d/10-y']) {
      script(path, `echo "$0 $*: $(cat)" >> ${said}`);
    }
    await hooks.run({ driver: 'qemu', object: 'g', operation: 'prepare', subOperation: 'begin', xml: '<domain/>' });
    const lines = readFileSync(said, 'utf8').trim().split('\n');
    expect(lines).toEqual(
      ['a/qemu', 'a/qemu.d/10-y', 'a/qemu.d/20-x', 'b/qemu'].map(
        (path) => `${dir}/${path} g prepare begin -: <domain/>`,
      ),
    );
    expect(hooks.has('daemon')).toBe(false);
  });

  it('filter, each what the one before has printed', async () => {
    script('a/qemu', 'sed s/one/two/');
    script('a/qemu.d/quiet', 'cat > /dev/null');
    script('b/qemu', 'sed s/two/three/');
    expect(await hooks.run({ driver: 'qemu', object: 'g', operation: 'restore', xml: '<one/>' })).toBe('<three/>');
  });

  it('refuse with their own words, the others are run all the same', async () => {
    script('a/qemu', 'echo "no bridge" >&2; exit 3');
    script('b/qemu', `touch ${dir}/ran`);
    const refused = hooks.run({ driver: 'qemu', object: 'g', operation: 'prepare', subOperation: 'begin' });
    await expect(refused).rejects.toMatchObject({
      code: ErrorCode.HOOK_SCRIPT_FAILED,
      message: `Hook script execution failed: ${dir}/a/qemu g prepare begin -: it ended with status 3: no bridge`,
    });
    expect(readFileSync(join(dir, 'ran'), 'utf8')).toBe('');
    await hooks.tell({ driver: 'qemu', object: 'g', operation: 'release', subOperation: 'end' });
  });
});
