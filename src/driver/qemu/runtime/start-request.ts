/** What the start of one guest needs to know. */

import type { GuestCgroupsInit } from '../../../guest/cgroups/guest-cgroups.ts';
import type { GuestLogLimits } from '../../../guest/guest-log.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { HookScripts } from '../../../process/hook-scripts.ts';
import type { ChildSetup } from '../../../process/wrap-command.ts';
import type { QmpClientOptions } from '../../../qmp/client.ts';
import type { QmpEvent } from '../../../qmp/event-hub.ts';
import type { BareEvent } from '../../domain-events.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { DriverSecurity } from '../security/driver-security.ts';
import type { OwnChange } from './guest-events.ts';
import type { FdSources } from './inherited-fds.ts';
import type { QemuRoot } from './qemu-root.ts';

/** Moments of a start that a program may want to time. */
export type StartMark = 'qemu-spawned' | 'monitor-ready' | 'running' | 'first-guest-byte';

export interface StartRequest {
  readonly id: number;
  readonly domain: Domain;
  readonly plan: LaunchPlan;
  readonly caps: QemuCapabilities;
  readonly root: QemuRoot;
  readonly hooks: HookScripts;
  readonly fdSources: Omit<FdSources, 'masterKey' | 'scratchDir'>;
  readonly logLimits: GuestLogLimits;
  /** Whether the log of a guest without a definition stays. */
  readonly keepLog: boolean;
  /** Of QEMU's process. */
  readonly limits: NonNullable<ChildSetup['limits']>;
  /** Its user, and labels of its files. */
  readonly security: DriverSecurity;
  /** How the guest's cgroups are laid out. */
  readonly cgroups: Omit<GuestCgroupsInit, 'id' | 'root' | 'ledger'>;
  readonly version: string;
  readonly paused: boolean;
  /** A daemon that finds it without the client that started it ends it. */
  readonly autodestroy: boolean;
  /** Stands at the stream of a saved guest, which is restored instead of booted. */
  readonly incomingFd?: number | undefined;
  /** No definition outlives the guest. */
  readonly transient: boolean;
  readonly trace?: QmpClientOptions['trace'];
  readonly emit: (event: BareEvent, timestampMs: number) => void;
  readonly onMonitorEvent?: ((event: QmpEvent) => void) | undefined;
  readonly onOwnChange?: ((change: OwnChange) => void) | undefined;
  readonly onMark?: ((mark: StartMark) => void) | undefined;
  /** The guest has ended: what its live definition names elsewhere is free again. */
  readonly giveBack?: ((domain: Domain) => Promise<void>) | undefined;
  /** The host's end of an interface is there. */
  readonly onPlugged?: ((device: NetworkInterface, hostEnd: string) => Promise<void>) | undefined;
}
