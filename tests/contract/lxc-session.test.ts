/** The contract on containers of a user without root, through the protocol, with that user's own daemon at the other end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { giveToTestUser, makeTestUser, TEST_USER, type TestUser } from '../support/test-user.ts';
import { CONTAINER_SKIPS, containersIn } from './containers.ts';
import { describeContract, REMOTE_SKIPS } from './contract.ts';

let rootfs = '';

if (canRunContainers()) {
  let folder = '';
  let user: TestUser;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'contract-root-'));
    user = makeTestUser(folder);
    rootfs = makeBusyboxRoot(folder);
    giveToTestUser(rootfs);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let daemon: TestDaemon | undefined;
  afterAll(async () => await daemon?.[Symbol.asyncDispose]());
  describeContract({
    name: 'nestling daemon of a user, containers',
    guests: containersIn(() => rootfs),
    skips: {
      ...REMOTE_SKIPS,
      ...CONTAINER_SKIPS,
      'keeps storage pools and volumes': 'the folder for them is root’s; unprivileged.test.ts shows those of a user',
    },
    open: async () => {
      daemon = await startDaemon(['--session'], { prefix: user.words([]), env: user.env, owner: TEST_USER.uid });
      return await connect(`lxc+unix:///session?socket=${daemon.socket}`);
    },
  });
}
