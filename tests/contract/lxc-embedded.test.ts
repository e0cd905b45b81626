/** The contract on containers, embedded ones. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { CONTAINER_SKIPS, containersIn } from './containers.ts';
import { describeContract } from './contract.ts';

let rootfs = '';

if (canRunContainers()) {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'contract-root-'));
    rootfs = makeBusyboxRoot(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  describeContract({
    name: 'lxc:///embed',
    guests: containersIn(() => rootfs),
    skips: CONTAINER_SKIPS,
    open: async () => await connect('lxc:///embed'),
  });
}
