/** Keys, screen, agent and monitor of a guest behind the protocol. */
import type { Readable } from 'node:stream';
import type { TypedParameters, Waiting } from '../../driver/driver.ts';
import {
  type GuestFilesystem,
  type GuestInfoGroup,
  type InteractionOperations,
  KEYCODE_SETS,
  type KeycodeSet,
  type SuspendTarget,
} from '../../driver/interaction-operations.ts';
import { fromTypedParams, REMOTE_PROCEDURES as P, Program, QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import { numbersToText } from '../convert.ts';
import {
  bitsOf,
  flagsOf,
  GUEST_INFO_GROUPS,
  MonitorFlag,
  PasswordFlag,
  SshKeysFlag,
  SUSPEND_TARGETS,
  TimeFlag,
} from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

const QEMU = { program: Program.QEMU };
/** libvirt's "as long as it takes": -2; its own default: -1. */
const AGENT_DEFAULT_TIMEOUT = -1;

export class RemoteInteraction implements InteractionOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async sendKey(
    uuid: string,
    keycodes: readonly number[],
    options: { readonly codeset?: KeycodeSet; readonly holdMs?: number } & Waiting = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const codeset = KEYCODE_SETS.indexOf(options.codeset ?? 'linux');
    const args = { dom, codeset, holdtime: options.holdMs ?? 0, keycodes, flags: 0 };
    await this.#calls.call(P.domainSendKey, args, options);
  }

  async injectNmi(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.domainInjectNmi, { dom: await this.#calls.domain(uuid, options), flags: 0 }, options);
  }

  async screenshot(
    uuid: string,
    screen = 0,
    options: Waiting = {},
  ): Promise<{ readonly mime: string; readonly image: Readable }> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, screen, flags: 0 };
    const { ret, stream } = await this.#calls.client.callStream(P.domainScreenshot, args, options);
    return { mime: ret.mime ?? 'application/octet-stream', image: stream };
  }

  async hostname(uuid: string, options: Waiting = {}): Promise<string> {
    const dom = await this.#calls.domain(uuid, options);
    return (await this.#calls.call(P.domainGetHostname, { dom, flags: 0 }, options)).hostname;
  }

  async guestInfo(uuid: string, groups: readonly GuestInfoGroup[], options: Waiting = {}): Promise<TypedParameters> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, types: bitsOf(GUEST_INFO_GROUPS, groups), flags: 0 };
    return fromTypedParams((await this.#calls.call(P.domainGetGuestInfo, args, options)).params);
  }

  async filesystems(uuid: string, options: Waiting = {}): Promise<readonly GuestFilesystem[]> {
    const dom = await this.#calls.domain(uuid, options);
    const { info } = await this.#calls.call(P.domainGetFsinfo, { dom, flags: 0 }, options);
    return info.map(({ mountpoint, name, fstype, devAliases }) => ({
      mountPoint: mountpoint,
      name,
      type: fstype,
      disks: devAliases,
    }));
  }

  async guestVcpus(uuid: string, options: Waiting = {}): Promise<TypedParameters> {
    const dom = await this.#calls.domain(uuid, options);
    return fromTypedParams((await this.#calls.call(P.domainGetGuestVcpus, { dom, flags: 0 }, options)).params);
  }

  async setGuestVcpus(uuid: string, cpus: readonly number[], enabled: boolean, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, cpumap: numbersToText(cpus), state: enabled ? 1 : 0, flags: 0 };
    await this.#calls.call(P.domainSetGuestVcpus, args, options);
  }

  async time(uuid: string, options: Waiting = {}): Promise<{ readonly seconds: bigint; readonly nanoseconds: number }> {
    const dom = await this.#calls.domain(uuid, options);
    const { seconds, nseconds } = await this.#calls.call(P.domainGetTime, { dom, flags: 0 }, options);
    return { seconds, nanoseconds: nseconds };
  }

  async setTime(
    uuid: string,
    time: { readonly seconds: bigint; readonly nanoseconds: number } | 'sync',
    options: Waiting = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const { seconds, nanoseconds } = time === 'sync' ? { seconds: 0n, nanoseconds: 0 } : time;
    const flags = flagsOf([TimeFlag.SYNC, time === 'sync']);
    await this.#calls.call(P.domainSetTime, { dom, seconds, nseconds: nanoseconds, flags }, options);
  }

  async freezeFilesystems(uuid: string, mountPoints: readonly string[] = [], options: Waiting = {}): Promise<number> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, mountpoints: mountPoints, flags: 0 };
    return (await this.#calls.call(P.domainFsfreeze, args, options)).filesystems;
  }

  async thawFilesystems(uuid: string, mountPoints: readonly string[] = [], options: Waiting = {}): Promise<number> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, mountpoints: mountPoints, flags: 0 };
    return (await this.#calls.call(P.domainFsthaw, args, options)).filesystems;
  }

  async trimFilesystems(uuid: string, minimumBytes = 0n, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, mountPoint: undefined, minimum: minimumBytes, flags: 0 };
    await this.#calls.call(P.domainFstrim, args, options);
  }

  async setUserPassword(
    uuid: string,
    user: string,
    password: string,
    options: { readonly encrypted?: boolean } & Waiting = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf([PasswordFlag.ENCRYPTED, options.encrypted]);
    await this.#calls.call(P.domainSetUserPassword, { dom, user, password, flags }, options);
  }

  async authorizedSshKeys(uuid: string, user: string, options: Waiting = {}): Promise<readonly string[]> {
    const dom = await this.#calls.domain(uuid, options);
    return (await this.#calls.call(P.domainAuthorizedSshKeysGet, { dom, user, flags: 0 }, options)).keys;
  }

  async setAuthorizedSshKeys(
    uuid: string,
    user: string,
    keys: readonly string[],
    options: { readonly append?: boolean; readonly remove?: boolean } & Waiting = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf([SshKeysFlag.APPEND, options.append], [SshKeysFlag.REMOVE, options.remove]);
    await this.#calls.call(P.domainAuthorizedSshKeysSet, { dom, user, keys, flags }, options);
  }

  async pmSuspend(uuid: string, target: SuspendTarget, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, target: SUSPEND_TARGETS.indexOf(target), duration: 0n, flags: 0 };
    await this.#calls.call(P.domainPmSuspendForDuration, args, options);
  }

  async pmWakeup(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.domainPmWakeup, { dom: await this.#calls.domain(uuid, options), flags: 0 }, options);
  }

  async setAgentTimeout(uuid: string, seconds: number, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainAgentSetResponseTimeout, { dom, timeout: seconds, flags: 0 }, options);
  }

  async monitorText(
    uuid: string,
    command: string,
    options: { readonly hmp?: boolean } & Waiting = {},
  ): Promise<string> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, cmd: command, flags: flagsOf([MonitorFlag.HMP, options.hmp]) };
    return (await this.#calls.call(Q.domainMonitorCommand, args, { ...options, ...QEMU })).result;
  }

  async agentText(
    uuid: string,
    command: string,
    options: { readonly timeoutS?: number } & Waiting = {},
  ): Promise<string> {
    const dom = await this.#calls.domain(uuid, options);
    const args = { dom, cmd: command, timeout: options.timeoutS ?? AGENT_DEFAULT_TIMEOUT, flags: 0 };
    return (await this.#calls.call(Q.domainAgentCommand, args, { ...options, ...QEMU })).result ?? '';
  }
}
