/** The contract on embedded connections. */
import { connect } from '../../src/index.ts';
import { describeContract } from './contract.ts';

describeContract({ name: 'qemu:///embed', open: async () => await connect('qemu:///embed') });
