/** Talking with running guests: keys, screen, the agent's commands, monitor and agent as text. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { withTimeout } from '../../../core/abort.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf, textIn } from '../../../core/members.ts';
import { randomHex } from '../../../core/random.ts';
import { activeGuest } from '../../../guest/domain-report.ts';
import { QmpError } from '../../../qmp/errors.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type { TypedParameters, Waiting } from '../../driver.ts';
import type {
  GuestFilesystem,
  GuestInfoGroup,
  InteractionOperations,
  KeycodeSet,
  SuspendTarget,
} from '../../interaction-operations.ts';
import type { DriverParts } from './driver-parts.ts';
import { executeAgentCommand } from './guest-agent.ts';
import { filesystemsOf, readGuestInfo } from './guest-info.ts';
import { toQnum } from './keycodes.ts';
import type { DomainStore } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';

/** virDomainQemuAgentCommandTimeoutValues. */
const AGENT_TIMEOUT = { BLOCK: -2, DEFAULT: -1, NOWAIT: 0 } as const;
const AGENT_DEFAULT_S = 5;
const NS_PER_S = 1_000_000_000n;

export class DomainInteraction implements InteractionOperations {
  readonly #store: DomainStore;
  readonly #scratchDir: string;
  readonly #agentTimeouts = new Map<string, number>();

  constructor({ store, root }: Pick<DriverParts, 'store' | 'root'>) {
    this.#store = store;
    this.#scratchDir = root.layout.roots.run;
  }

  async sendKey(
    uuid: string,
    keycodes: readonly number[],
    { codeset = 'linux', holdMs, signal }: { readonly codeset?: KeycodeSet; readonly holdMs?: number } & Waiting = {},
  ): Promise<void> {
    const guest = this.#active('sendKey', uuid);
    const keys = keycodes.map((code) => ({ type: 'number', data: toQnum(code, codeset) }));
    const args = holdMs === undefined || holdMs === 0 ? { keys } : { keys, 'hold-time': holdMs };
    await guest.qmp.execute('send-key', args, { signal });
  }

  async injectNmi(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('injectNmi', uuid).qmp.execute('inject-nmi', undefined, { signal });
  }

  async screenshot(
    uuid: string,
    screen = 0,
    { signal }: Waiting = {},
  ): Promise<{ readonly mime: string; readonly image: Readable }> {
    const guest = this.#active('screenshot', uuid);
    const videos = guest.domain.devices?.videos ?? [];
    const video = videos[screen];
    if (video === undefined) {
      const why = videos.length === 0 ? 'no video device' : `no screen ${screen}: it has ${videos.length}`;
      throw new VirtError(`domain '${guest.domain.name ?? ''}' has ${why}`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.QEMU,
      });
    }
    const filename = join(this.#scratchDir, `screen-${randomHex(8)}`);
    const device = screen === 0 || video.alias?.name === undefined ? {} : { device: video.alias.name };
    try {
      guest.security?.giveFile(filename);
      const isPng = await dump(guest, { filename, ...device }, signal);
      const image = Readable.from([readFileSync(filename)]);
      return { mime: isPng ? 'image/png' : 'image/x-portable-pixmap', image };
    } finally {
      rmSync(filename, { force: true });
    }
  }

  async hostname(uuid: string, options: Waiting = {}): Promise<string> {
    return textIn(await this.#agent(uuid, 'guest-get-host-name', undefined, options), 'host-name');
  }

  async guestInfo(uuid: string, groups: readonly GuestInfoGroup[], options: Waiting = {}): Promise<TypedParameters> {
    const guest = this.#active('agentCommand', uuid);
    return await readGuestInfo(
      groups,
      async (command, args) => await this.#agent(uuid, command, args, options),
      guest.domain,
    );
  }

  async filesystems(uuid: string, options: Waiting = {}): Promise<readonly GuestFilesystem[]> {
    const guest = this.#active('agentCommand', uuid);
    return filesystemsOf(await this.#agent(uuid, 'guest-get-fsinfo', undefined, options), guest.domain);
  }

  async guestVcpus(uuid: string, options: Waiting = {}): Promise<TypedParameters> {
    const reply = await this.#agent(uuid, 'guest-get-vcpus', undefined, options);
    const cpus = (Array.isArray(reply) ? reply : []).map((one: unknown) => ({
      id: Number(memberOf(one, 'logical-id')),
      online: memberOf(one, 'online') === true,
      canOffline: memberOf(one, 'can-offline') === true,
    }));
    const list = (wanted: (cpu: (typeof cpus)[number]) => boolean): string =>
      cpus
        .filter(wanted)
        .map(({ id }) => id)
        .join(',');
    return { vcpus: list(() => true), online: list(({ online }) => online), offlinable: list((cpu) => cpu.canOffline) };
  }

  async setGuestVcpus(uuid: string, cpus: readonly number[], enabled: boolean, options: Waiting = {}): Promise<void> {
    const vcpus = cpus.map((id) => ({ 'logical-id': id, online: enabled }));
    const changed = await this.#agent(uuid, 'guest-set-vcpus', { vcpus }, options);
    if (Number(changed) === cpus.length) return;
    throw new VirtError(`the guest changed ${Number(changed)} of ${cpus.length} virtual CPUs`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.QEMU,
    });
  }

  async time(uuid: string, options: Waiting = {}): Promise<{ readonly seconds: bigint; readonly nanoseconds: number }> {
    const ns = BigInt(Number(await this.#agent(uuid, 'guest-get-time', undefined, options)));
    return { seconds: ns / NS_PER_S, nanoseconds: Number(ns % NS_PER_S) };
  }

  async setTime(
    uuid: string,
    time: { readonly seconds: bigint; readonly nanoseconds: number } | 'sync',
    options: Waiting = {},
  ): Promise<void> {
    const args = time === 'sync' ? undefined : { time: Number(time.seconds * NS_PER_S + BigInt(time.nanoseconds)) };
    await this.#agent(uuid, 'guest-set-time', args, options);
    // The guest's own clock: what a reset would show again.
    await this.#active('agentCommand', uuid)
      .qmp.execute('rtc-reset-reinjection', undefined, options)
      .catch(() => undefined);
  }

  async freezeFilesystems(uuid: string, mountPoints: readonly string[] = [], options: Waiting = {}): Promise<number> {
    const reply =
      mountPoints.length === 0
        ? await this.#agent(uuid, 'guest-fsfreeze-freeze', undefined, options)
        : await this.#agent(uuid, 'guest-fsfreeze-freeze-list', { mountpoints: [...mountPoints] }, options);
    return Number(reply);
  }

  /** The agent thaws all there is; single ones cannot be chosen. */
  async thawFilesystems(uuid: string, mountPoints: readonly string[] = [], options: Waiting = {}): Promise<number> {
    if (mountPoints.length > 0) {
      throw new VirtError('the guest agent thaws all file systems, not single ones', {
        code: ErrorCode.ARGUMENT_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
    }
    return Number(await this.#agent(uuid, 'guest-fsfreeze-thaw', undefined, options));
  }

  async trimFilesystems(uuid: string, minimumBytes = 0n, options: Waiting = {}): Promise<void> {
    await this.#agent(uuid, 'guest-fstrim', { minimum: Number(minimumBytes) }, options);
  }

  async setUserPassword(
    uuid: string,
    user: string,
    password: string,
    { encrypted = false, signal }: { readonly encrypted?: boolean } & Waiting = {},
  ): Promise<void> {
    const args = { username: user, password: Buffer.from(password).toString('base64'), crypted: encrypted };
    await this.#agent(uuid, 'guest-set-user-password', args, { signal });
  }

  async authorizedSshKeys(uuid: string, user: string, options: Waiting = {}): Promise<readonly string[]> {
    const reply = await this.#agent(uuid, 'guest-ssh-get-authorized-keys', { username: user }, options);
    const keys = memberOf(reply, 'keys');
    return Array.isArray(keys) ? keys.map(String) : [];
  }

  async setAuthorizedSshKeys(
    uuid: string,
    user: string,
    keys: readonly string[],
    options: { readonly append?: boolean; readonly remove?: boolean } & Waiting = {},
  ): Promise<void> {
    const args = { username: user, keys: [...keys] };
    if (options.remove === true) await this.#agent(uuid, 'guest-ssh-remove-authorized-keys', args, options);
    else await this.#agent(uuid, 'guest-ssh-add-authorized-keys', { ...args, reset: options.append !== true }, options);
  }

  async pmSuspend(uuid: string, target: SuspendTarget, options: Waiting = {}): Promise<void> {
    const command = { mem: 'guest-suspend-ram', disk: 'guest-suspend-disk', hybrid: 'guest-suspend-hybrid' }[target];
    await this.#agent(uuid, command, undefined, options);
  }

  async pmWakeup(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('pmWakeup', uuid).qmp.execute('system_wakeup', undefined, { signal });
  }

  async setAgentTimeout(uuid: string, seconds: number): Promise<void> {
    if (seconds < AGENT_TIMEOUT.BLOCK) {
      throw new VirtError(`guest agent timeout '${seconds}' is less than the minimum '${AGENT_TIMEOUT.BLOCK}'`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.QEMU,
      });
    }
    this.#agentTimeouts.set(this.#store.byUuid(uuid).uuid, seconds);
  }

  async monitorText(
    uuid: string,
    command: string,
    { hmp = false, signal }: { readonly hmp?: boolean } & Waiting = {},
  ): Promise<string> {
    const guest = this.#active('monitorCommand', uuid);
    if (hmp) {
      return await guest.qmp.execute('human-monitor-command', { 'command-line': command }, { signal });
    }
    const { execute, args, id } = parseCommand(command);
    return await answer(id, async () => await guest.qmp.execute(execute, args, { signal }));
  }

  async agentText(
    uuid: string,
    command: string,
    { timeoutS, signal }: { readonly timeoutS?: number } & Waiting = {},
  ): Promise<string> {
    const { execute, args } = parseCommand(command);
    const reply = await this.#agent(uuid, execute, args, { signal }, timeoutS);
    return JSON.stringify({ return: reply ?? {} });
  }

  async #agent(
    uuid: string,
    command: string,
    args: JsonObject | undefined,
    { signal }: Waiting,
    timeoutS = this.#agentTimeouts.get(uuid) ?? AGENT_TIMEOUT.DEFAULT,
  ): Promise<unknown> {
    const guest = this.#active('agentCommand', uuid);
    if (timeoutS === AGENT_TIMEOUT.BLOCK) return await executeAgentCommand(guest, command, args, signal);
    const seconds = timeoutS === AGENT_TIMEOUT.DEFAULT ? AGENT_DEFAULT_S : timeoutS;
    using deadline = withTimeout(signal, seconds * 1000);
    try {
      return await executeAgentCommand(guest, command, args, deadline);
    } catch (error) {
      signal?.throwIfAborted();
      if (!deadline.aborted) throw error;
      throw new VirtError(`the guest agent has not answered ${command} within ${seconds} s`, {
        code: ErrorCode.AGENT_UNRESPONSIVE,
        domain: ErrorDomain.QEMU,
        cause: error,
      });
    }
  }

  #active(operation: DomainOperation, uuid: string): RunningGuest {
    return activeGuest(operation, this.#store.byUuid(uuid));
  }
}

/** PNG where QEMU can (7.1 and later, built with libpng), else PPM. */
async function dump(
  guest: RunningGuest,
  args: JsonObject & { filename: string },
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    await guest.qmp.execute('screendump', { ...args, format: 'png' }, { signal });
    return true;
  } catch (error) {
    if (!(error instanceof QmpError) || !/format|png/i.test(error.message)) throw error;
    await guest.qmp.execute('screendump', args, { signal });
    return false;
  }
}

function parseCommand(text: string): { execute: string; args: JsonObject | undefined; id: unknown } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new VirtError(`cannot parse command '${text}': it is no JSON; human monitor commands need --hmp`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.QEMU,
      cause,
    });
  }
  const execute = memberOf(parsed, 'execute');
  if (typeof execute !== 'string') {
    throw new VirtError(`command '${text}' has no member "execute"`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.QEMU,
    });
  }
  const args = memberOf(parsed, 'arguments');
  return {
    execute,
    args: typeof args === 'object' && args !== null ? (args as JsonObject) : undefined,
    id: memberOf(parsed, 'id'),
  };
}

/** QEMU's refusals are answers too: whoever speaks JSON reads them as such. */
async function answer(id: unknown, run: () => Promise<unknown>): Promise<string> {
  const tail = id === undefined ? {} : { id };
  try {
    return JSON.stringify({ return: await run(), ...tail });
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    return JSON.stringify({ ...tail, error: { class: error.class, desc: error.desc } });
  }
}
