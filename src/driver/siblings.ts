/**
 * The drivers that a hypervisor driver has beside it on a connection: networks, storage, devices and interfaces of the host. They share its
 * root and end with it; each is loaded when it is first used.
 */
import type { Ledger } from '../core/ledger.ts';
import type { GuestNetworks, GuestVolumes } from './guest-sources.ts';
import type { InterfaceOperations } from './interface-operations.ts';
import type { NetworkOperations } from './network-operations.ts';
import type { NodeDeviceOperations } from './node-device-operations.ts';
import type { SecretOperations } from './secret-operations.ts';
import type { StorageOperations } from './storage-operations.ts';

/** Where they keep their things: the folders that libvirt's `/etc/libvirt`, `/var/lib/libvirt`, `/run/libvirt` and `/var/log/libvirt` stand for. */
export interface SiblingRoot {
  /** `embedded`: all that was made ends with this process. `daemon`: whoever opens the root next takes it over. */
  readonly placement: 'embedded' | 'daemon';
  readonly etc: string;
  readonly lib: string;
  readonly run: string;
  readonly log: string;
  /**
   * What is made on the host for one object is recorded here, before it is made. `name` is unique among all objects of the root: `network-NAME`.
   */
  ledgerOf(name: string): ObjectLedger;
  /** Names that have a ledger; none in an embedded root, whose one ledger is collected with it. */
  ledgers(): readonly string[];
  /** Removes what is left of an object that no process keeps any more. @returns one line for each thing that could not be removed */
  collect(name: string): Promise<readonly string[]>;
}

/** The ledger of one object. A daemon's objects have one each, which outlives the process that wrote it. */
export interface ObjectLedger {
  readonly ledger: Ledger;
  /** The object has ended and what it had is removed. */
  done(): void;
}

/** Scripts of administrators for the objects of one driver. */
export interface SiblingHooks {
  has(): boolean;
  /** @throws VirtError HOOK_SCRIPT_FAILED with the script's words */
  run(call: SiblingHookCall, options: { readonly signal: AbortSignal | undefined }): Promise<unknown>;
  /** For what cannot be refused any more. */
  tell(call: SiblingHookCall): Promise<void>;
}

export interface SiblingHookCall {
  readonly object: string;
  readonly operation: string;
  readonly subOperation: string;
  /** For its standard input. */
  readonly xml: string;
}

export interface SiblingOptions {
  /** Of networks; absent: none. */
  readonly networkHooks?: SiblingHooks | undefined;
  readonly root: SiblingRoot;
  readonly secrets: SecretOperations;
  /** The value of a secret that a definition names, private ones too: for programs of ours, never for clients. @throws VirtError NO_SECRET */
  readonly secretValue: (reference: {
    readonly uuid?: string | undefined;
    readonly usage?: string | undefined;
  }) => Uint8Array;
  /** What the administrator should know and nobody asked for. */
  readonly onNote: (note: string) => void;
}

export interface Siblings extends AsyncDisposable {
  readonly networks?: NetworkOperations;
  readonly storage?: StorageOperations;
  readonly nodeDevices?: NodeDeviceOperations;
  readonly interfaces?: InterfaceOperations;
  readonly guestNetworks?: GuestNetworks;
  readonly guestVolumes?: GuestVolumes;
  /** Of a daemon, before guests are taken over: finds again what the daemon before had. */
  takeOver(): Promise<void>;
  /** Starts what is marked for it; what fails is told and does not keep the others from starting. */
  autostart(): Promise<void>;
}

export type OpenSiblings = (options: SiblingOptions) => Siblings;
