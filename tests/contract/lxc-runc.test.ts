/** The contract on containers that run on runc: embedded ones, and those of our daemon. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { canRunOnRunc, makeBusyboxRoot, RUNC_SETTINGS } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { CONTAINER_SKIPS, containersIn } from './containers.ts';
import { describeContract, REMOTE_SKIPS } from './contract.ts';

let rootfs = '';

if (canRunOnRunc()) {
  let folder = '';
  let daemon: TestDaemon | undefined;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'contract-root-'));
    rootfs = makeBusyboxRoot(folder);
    mkdirSync(join(folder, 'state/etc'), { recursive: true });
    for (const [name, content] of Object.entries(RUNC_SETTINGS)) writeFileSync(join(folder, 'state', name), content);
  });
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  describeContract({
    name: 'lxc:///embed on runc',
    guests: containersIn(() => rootfs),
    skips: CONTAINER_SKIPS,
    open: async () => await connect(`lxc:///embed?root=${folder}/state`),
  });
  describeContract({
    name: 'nestling daemon, containers on runc',
    guests: containersIn(() => rootfs),
    skips: { ...CONTAINER_SKIPS, ...REMOTE_SKIPS },
    open: async () => {
      daemon = await startDaemon([], { files: RUNC_SETTINGS });
      return await connect(daemon.uri.replace(/^qemu/, 'lxc'));
    },
  });
}
