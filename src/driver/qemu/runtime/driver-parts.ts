/** What the groups of operations of one connection work with. The driver makes it; a group keeps what it needs. */

import type { SecretStore } from '../../../guest/secret-store.ts';
import type { HookScripts } from '../../../process/hook-scripts.ts';
import type { BareEvent } from '../../domain-events.ts';
import type { GuestNetworks } from '../../guest-sources.ts';
import type { CapabilitiesCache } from '../capabilities/cache.ts';
import type { QemuConfig } from '../config.ts';
import type { DomainJobs } from './domain-jobs.ts';
import type { DomainStarter } from './domain-starter.ts';
import type { DomainRecord, DomainStore } from './qemu-record.ts';
import type { QemuRoot } from './qemu-root.ts';

export interface DriverParts {
  readonly root: QemuRoot;
  readonly cache: CapabilitiesCache;
  readonly config: QemuConfig;
  readonly secrets: SecretStore;
  /** None in an embedded driver. */
  readonly hooks: HookScripts;
  readonly store: DomainStore;
  /** Virtual networks of the connection. */
  readonly networks?: GuestNetworks | undefined;
  readonly starter: DomainStarter;
  /** What takes long. */
  readonly jobs: DomainJobs;
  readonly emit: (record: DomainRecord, event: BareEvent, id?: number, timestampMs?: number) => void;
}
