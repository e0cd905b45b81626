/** Talking with a running guest: keys, screen, agent, monitor. Part of the driver contract. */
import type { Readable } from 'node:stream';
import type { DomainIdentity, TypedParameters, Waiting } from './driver.ts';

/** virKeycodeSet by number. */
export const KEYCODE_SETS = [
  'linux',
  'xt',
  'atset1',
  'atset2',
  'atset3',
  'os_x',
  'xt_kbd',
  'usb',
  'win32',
  'qnum',
] as const;
export type KeycodeSet = (typeof KEYCODE_SETS)[number];

/** virDomainProcessSignal etc. are containers'; these are of virDomainPMSuspendForDuration. */
export type SuspendTarget = 'mem' | 'disk' | 'hybrid';

/** One event of QEMU's monitor, as it came. */
export interface MonitorEvent {
  readonly domain: DomainIdentity;
  readonly event: string;
  /** Seconds and microseconds since 1970. */
  readonly seconds: bigint;
  readonly micros: number;
  /** JSON text; undefined where the event has no data. */
  readonly details: string | undefined;
}

/** Groups of what the agent tells (virDomainGuestInfoTypes). */
export type GuestInfoGroup = 'users' | 'os' | 'timezone' | 'hostname' | 'filesystem' | 'disks' | 'interfaces' | 'load';

/** A mounted file system (virDomainFSInfo). */
export interface GuestFilesystem {
  readonly mountPoint: string;
  /** Of its device in the guest. */
  readonly name: string;
  readonly type: string;
  /** Target names of the disks that it lies on. */
  readonly disks: readonly string[];
}

export interface InteractionOperations {
  sendKey(
    uuid: string,
    keycodes: readonly number[],
    options?: { readonly codeset?: KeycodeSet; readonly holdMs?: number } & Waiting,
  ): Promise<void>;
  injectNmi(uuid: string, options?: Waiting): Promise<void>;
  /** The picture on a screen. */
  screenshot(
    uuid: string,
    screen?: number,
    options?: Waiting,
  ): Promise<{ readonly mime: string; readonly image: Readable }>;
  /** The host name that the agent tells. */
  hostname(uuid: string, options?: Waiting): Promise<string>;
  /** @returns libvirt's parameters: `os.id`, `fs.0.mountpoint`, … */
  guestInfo(uuid: string, groups: readonly GuestInfoGroup[], options?: Waiting): Promise<TypedParameters>;
  /** What the guest has mounted, as its agent tells. */
  filesystems(uuid: string, options?: Waiting): Promise<readonly GuestFilesystem[]>;
  guestVcpus(uuid: string, options?: Waiting): Promise<TypedParameters>;
  setGuestVcpus(uuid: string, cpus: readonly number[], enabled: boolean, options?: Waiting): Promise<void>;
  time(uuid: string, options?: Waiting): Promise<{ readonly seconds: bigint; readonly nanoseconds: number }>;
  setTime(
    uuid: string,
    time: { readonly seconds: bigint; readonly nanoseconds: number } | 'sync',
    options?: Waiting,
  ): Promise<void>;
  /** Mount points; none: all. @returns how many were frozen */
  freezeFilesystems(uuid: string, mountPoints?: readonly string[], options?: Waiting): Promise<number>;
  thawFilesystems(uuid: string, mountPoints?: readonly string[], options?: Waiting): Promise<number>;
  trimFilesystems(uuid: string, minimumBytes?: bigint, options?: Waiting): Promise<void>;
  setUserPassword(
    uuid: string,
    user: string,
    password: string,
    options?: { readonly encrypted?: boolean } & Waiting,
  ): Promise<void>;
  authorizedSshKeys(uuid: string, user: string, options?: Waiting): Promise<readonly string[]>;
  setAuthorizedSshKeys(
    uuid: string,
    user: string,
    keys: readonly string[],
    options?: { readonly append?: boolean; readonly remove?: boolean } & Waiting,
  ): Promise<void>;
  pmSuspend(uuid: string, target: SuspendTarget, options?: Waiting): Promise<void>;
  pmWakeup(uuid: string, options?: Waiting): Promise<void>;
  /** Seconds that agent commands may take: -2 for ever, -1 libvirt's default, 0 none. */
  setAgentTimeout(uuid: string, seconds: number, options?: Waiting): Promise<void>;
  /** A command's text as the monitor takes it, JSON or with `hmp` the human one. @returns the reply's text */
  monitorText(uuid: string, command: string, options?: { readonly hmp?: boolean } & Waiting): Promise<string>;
  /** The agent's reply as text. `timeoutS` as of virDomainQemuAgentCommand: -2 for ever, -1 default, 0 none. */
  agentText(uuid: string, command: string, options?: { readonly timeoutS?: number } & Waiting): Promise<string>;
}
