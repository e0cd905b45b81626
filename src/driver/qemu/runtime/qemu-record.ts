/** Records of the domains whose guests are QEMU's. */
import type { DomainRecord as SharedRecord } from '../../../guest/domain-record.ts';
import type { DomainStore as SharedStore } from '../../../guest/domain-store.ts';
import type { RunningGuest } from './running-guest.ts';

export type DomainRecord = SharedRecord<RunningGuest>;
export type DomainStore = SharedStore<RunningGuest>;
