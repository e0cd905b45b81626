/** What the groups of operations of one connection work with. The driver makes it; a group keeps what it needs. */
import type { HookScripts } from '../../../process/hook-scripts.ts';
import type { GuestNetworks } from '../../guest-sources.ts';
import type { CapabilitiesCache } from '../capabilities/cache.ts';
import type { QemuConfig } from '../config.ts';
import type { DomainStarter } from './domain-starter.ts';
import type { DomainRecord, DomainStore } from './domain-store.ts';
import type { DriverRoot } from './driver-root.ts';
import type { BareEvent } from './guest-events.ts';
import type { SecretStore } from './secret-store.ts';

export interface DriverParts {
  readonly root: DriverRoot;
  readonly cache: CapabilitiesCache;
  readonly config: QemuConfig;
  readonly secrets: SecretStore;
  /** None in an embedded driver. */
  readonly hooks: HookScripts;
  readonly store: DomainStore;
  /** Virtual networks of the connection. */
  readonly networks?: GuestNetworks | undefined;
  readonly starter: DomainStarter;
  readonly emit: (record: DomainRecord, event: BareEvent, id?: number, timestampMs?: number) => void;
}
