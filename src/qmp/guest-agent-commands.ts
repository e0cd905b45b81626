/**
 * The guest agent's commands that Nestling uses, as types (qemu-ga 5.2 to 10). Members that nobody reads are left out. What a
 * guest answers is the guest's to choose: treat values as untrusted input.
 */
import type { JsonObject, JsonValue } from './json.ts';

export type GuestAgentInfo = {
  version: string;
  supported_commands: { name: string; enabled: boolean; 'success-response': boolean }[];
};
export type GuestOsInfo = {
  id?: string;
  name?: string;
  'pretty-name'?: string;
  version?: string;
  'version-id'?: string;
  'kernel-release'?: string;
  'kernel-version'?: string;
  machine?: string;
  variant?: string;
  'variant-id'?: string;
};
export type GuestIpAddress = { 'ip-address': string; 'ip-address-type': 'ipv4' | 'ipv6'; prefix: number };
export type GuestNetworkInterface = {
  name: string;
  'hardware-address'?: string;
  'ip-addresses'?: GuestIpAddress[];
  statistics?: JsonObject;
};
export type GuestExecArguments = {
  path: string;
  arg?: string[];
  env?: string[];
  /** Base64. */
  'input-data'?: string;
  'capture-output'?: boolean;
};
export type GuestExecStatus = {
  exited: boolean;
  exitcode?: number;
  signal?: number;
  /** Base64. */
  'out-data'?: string;
  /** Base64. */
  'err-data'?: string;
  'out-truncated'?: boolean;
  'err-truncated'?: boolean;
};
export type GuestFsfreezeStatus = 'thawed' | 'frozen';
export type GuestShutdownMode = 'powerdown' | 'halt' | 'reboot';

type None = { readonly [key: string]: never };
type Command<A, R> = { arguments: A; returns: R };

/** Command name → arguments and return value. */
export interface GuestAgentCommandMap {
  'guest-ping': Command<None, None>;
  'guest-info': Command<None, GuestAgentInfo>;
  'guest-shutdown': Command<{ mode?: GuestShutdownMode }, None>;
  'guest-suspend-disk': Command<None, None>;
  'guest-suspend-ram': Command<None, None>;
  'guest-suspend-hybrid': Command<None, None>;
  'guest-exec': Command<GuestExecArguments, { pid: number }>;
  'guest-exec-status': Command<{ pid: number }, GuestExecStatus>;
  'guest-get-osinfo': Command<None, GuestOsInfo>;
  'guest-get-host-name': Command<None, { 'host-name': string }>;
  'guest-get-users': Command<None, { user: string; domain?: string; 'login-time': number }[]>;
  'guest-get-timezone': Command<None, { zone?: string; offset: number }>;
  /** Nanoseconds since 1970: beyond 2^53, so precise to about 256 ns only. */
  'guest-get-time': Command<None, number>;
  'guest-set-time': Command<{ time?: number }, None>;
  'guest-get-fsinfo': Command<None, JsonObject[]>;
  'guest-get-vcpus': Command<None, { 'logical-id': number; online: boolean; 'can-offline'?: boolean }[]>;
  'guest-network-get-interfaces': Command<None, GuestNetworkInterface[]>;
  'guest-fsfreeze-status': Command<None, GuestFsfreezeStatus>;
  /** Returns the number of file systems frozen. While frozen, the agent refuses most commands. */
  'guest-fsfreeze-freeze': Command<None, number>;
  'guest-fsfreeze-freeze-list': Command<{ mountpoints?: string[] }, number>;
  /** Returns the number of file systems thawed. */
  'guest-fsfreeze-thaw': Command<None, number>;
  'guest-fstrim': Command<{ minimum?: number }, JsonObject>;
  'guest-set-user-password': Command<{ username: string; password: string; crypted: boolean }, None>;
}

export type GuestAgentCommandName = keyof GuestAgentCommandMap | (string & {});
export type GuestAgentArguments<C extends string> = C extends keyof GuestAgentCommandMap
  ? GuestAgentCommandMap[C]['arguments']
  : JsonObject;
export type GuestAgentReturn<C extends string> = C extends keyof GuestAgentCommandMap
  ? GuestAgentCommandMap[C]['returns']
  : JsonValue;

/** Commands that the agent answers only when they fail (`success-response: false`). */
export const SILENT_COMMANDS: ReadonlySet<string> = new Set([
  'guest-shutdown',
  'guest-suspend-disk',
  'guest-suspend-ram',
  'guest-suspend-hybrid',
]);
