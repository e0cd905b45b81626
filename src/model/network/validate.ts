/** What a well-formed network definition may still get wrong: all that can be said without looking at the host or at other networks. */
import type { FaultList } from '../schema/faults.ts';
import type { Network } from './network.ts';

export function validateNetwork(_network: Network, _faults: FaultList): void {}
