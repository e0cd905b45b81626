/** The contract through the protocol, with Debian's libvirtd at the other end. */
import { afterAll } from 'vitest';
import { connect } from '../../src/index.ts';
import { hasLibvirtd, type Libvirtd, startLibvirtd } from '../support/libvirtd.ts';
import { describeContract, REMOTE_SKIPS } from './contract.ts';

let daemon: Libvirtd | undefined;
afterAll(async () => await daemon?.[Symbol.asyncDispose]());

if (hasLibvirtd()) {
  describeContract({
    name: 'libvirtd',
    skips: {
      ...REMOTE_SKIPS,
      'counts the CPU time of a guest': 'it needs a cgroup, and this libvirtd is told to make none',
    },
    open: async () => {
      daemon = await startLibvirtd();
      return await connect(daemon.uri);
    },
  });
} else {
  process.stderr.write('SKIPPED: the contract on libvirtd: libvirt-daemon is not installed\n');
}
