/** The contract through the protocol, with our daemon at the other end. */
import { afterAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { describeContract, REMOTE_SKIPS } from './contract.ts';

let daemon: TestDaemon | undefined;
afterAll(async () => await daemon?.[Symbol.asyncDispose]());

describeContract({
  name: 'nestling daemon',
  skips: REMOTE_SKIPS,
  open: async () => {
    daemon = await startDaemon();
    return await connect(daemon.uri);
  },
});
