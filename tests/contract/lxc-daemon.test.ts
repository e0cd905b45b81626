/** The contract on containers through the protocol, with our daemon at the other end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { CONTAINER_SKIPS, containersIn } from './containers.ts';
import { describeContract, REMOTE_SKIPS } from './contract.ts';

let rootfs = '';

if (canRunContainers()) {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'contract-root-'));
    rootfs = makeBusyboxRoot(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let daemon: TestDaemon | undefined;
  afterAll(async () => await daemon?.[Symbol.asyncDispose]());
  describeContract({
    name: 'nestling daemon, containers',
    guests: containersIn(() => rootfs),
    skips: { ...CONTAINER_SKIPS, ...REMOTE_SKIPS },
    open: async () => {
      daemon = await startDaemon();
      return await connect(daemon.uri.replace(/^qemu/, 'lxc'));
    },
  });
}
