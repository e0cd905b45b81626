/**
 * Commands for the agent in a running guest, over the channel that the definition gives it. One client per guest,
 * opened with its first command and closed with the guest. What the commands do is the agent's business.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isTimeout, withTimeout } from '../../../core/abort.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Channel } from '../../../model/domain/devices/character-device.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { GuestAgentProtocolError, QmpConnectionError, QmpError } from '../../../qmp/errors.ts';
import { GuestAgentClient } from '../../../qmp/guest-agent.ts';
import type { JsonObject } from '../../../qmp/json.ts';

/** The name under which guests look for the channel. */
const AGENT_CHANNEL = 'org.qemu.guest_agent.0';
/** libvirt's default: an agent that has not answered by then is taken for absent. */
const DEFAULT_TIMEOUT_MS = 5_000;

/** What is needed of a running guest. */
export interface AgentGuest {
  /** The live definition, with the channel's path and alias. */
  readonly domain: Domain;
  /** Resolves when the guest has ended. */
  readonly ended: Promise<unknown>;
}

/** How a socket is reached; tests put something else here. */
export type OpenAgentStream = (path: string, signal: AbortSignal) => Promise<Duplex>;

// No state of the program's: an entry lives as long as its guest object.
const CLIENTS = new WeakMap<AgentGuest, Promise<GuestAgentClient>>();

/**
 * Runs one command in the guest and returns the agent's answer. The agent must show up within five seconds; the command
 * itself takes as long as `signal` allows.
 * @throws VirtError ARGUMENT_UNSUPPORTED (no channel), AGENT_UNRESPONSIVE (no agent, or none that answers in time),
 * OPERATION_FAILED (the agent's refusal, in its words); the signal's reason when it was aborted for another cause
 */
export async function executeAgentCommand(
  guest: AgentGuest,
  command: string,
  args?: JsonObject,
  signal?: AbortSignal,
  openStream: OpenAgentStream = openSocket,
): Promise<unknown> {
  signal?.throwIfAborted();
  const name = guest.domain.name ?? '';
  const path = agentSocket(guest.domain);
  try {
    const client = await clientOf(guest, path, openStream);
    {
      using deadline = withTimeout(signal, DEFAULT_TIMEOUT_MS);
      // Each time: the agent may have been restarted, or have gone, since the last command.
      await client.synchronize({ signal: deadline });
    }
    return await (args === undefined
      ? client.execute(command, undefined, { signal })
      : client.execute(command, args, { signal }));
  } catch (error) {
    throw explain(error, name, command, signal);
  }
}

/** The channel's socket on this host. @throws VirtError when the guest has no channel that can be reached */
function agentSocket(domain: Domain): string {
  const channel = domain.devices?.channels.find(({ target }) => target.name === AGENT_CHANNEL);
  if (channel === undefined) throw noChannel(domain, 'it has no agent channel');
  if (channel.target.state === 'disconnected') throw notThere(domain);
  return socketPathOf(channel) ?? raise(noChannel(domain, 'its agent channel is no socket that QEMU listens on'));
}

function socketPathOf({ type, sources: [source] }: Channel): string | undefined {
  return type === 'unix' && source?.mode !== 'connect' ? source?.path : undefined;
}

function noChannel({ name = '' }: Domain, why: string): VirtError {
  const xml = `<channel type='unix'><target type='virtio' name='${AGENT_CHANNEL}'/></channel>`;
  return new VirtError(`cannot reach the agent of guest '${name}': ${why}: add ${xml} to its <devices>`, {
    code: ErrorCode.ARGUMENT_UNSUPPORTED,
    domain: ErrorDomain.QEMU,
  });
}

/** Nothing in the guest has opened the channel: there is nobody to wait for. */
function notThere({ name = '' }: Domain): VirtError {
  return new VirtError(
    `QEMU guest agent is not connected: nothing in guest '${name}' has opened its channel; is qemu-guest-agent installed and running there?`,
    { code: ErrorCode.AGENT_UNRESPONSIVE, domain: ErrorDomain.QEMU },
  );
}

function raise(error: Error): never {
  throw error;
}

function clientOf(guest: AgentGuest, path: string, openStream: OpenAgentStream): Promise<GuestAgentClient> {
  const known = CLIENTS.get(guest);
  if (known !== undefined) return known;
  const forget = (): void => {
    if (CLIENTS.get(guest) === opened) CLIENTS.delete(guest);
  };
  const opened = openClient(guest, path, openStream);
  CLIENTS.set(guest, opened);
  // A failure is for the caller; the next command tries anew, as it does after the channel's end.
  opened.then((client) => client.closed.then(forget), forget);
  return opened;
}

async function openClient(guest: AgentGuest, path: string, openStream: OpenAgentStream): Promise<GuestAgentClient> {
  using deadline = withTimeout(undefined, DEFAULT_TIMEOUT_MS);
  const client = new GuestAgentClient(await openStream(path, deadline));
  void guest.ended.then(() => client.close());
  return client;
}

async function openSocket(path: string, signal: AbortSignal): Promise<Socket> {
  const socket = connect(path);
  try {
    await once(socket, 'connect', { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function explain(error: unknown, name: string, command: string, signal: AbortSignal | undefined): unknown {
  if (error instanceof VirtError) return error;
  if (error instanceof QmpError) {
    return new VirtError(`the agent of guest '${name}' refused ${command}: ${error.desc}`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.QEMU,
      str1: error.class,
      cause: error,
    });
  }
  if (signal?.aborted === true && !isTimeout(signal.reason)) return signal.reason;
  const install = 'is qemu-guest-agent installed and running in the guest?';
  const why = isTimeout(error) ? `no answer in time to ${command}` : wordsOf(error);
  return new VirtError(`the agent of guest '${name}' is not there: ${why}; ${install}`, {
    code: ErrorCode.AGENT_UNRESPONSIVE,
    domain: ErrorDomain.QEMU,
    cause: error,
  });
}

function wordsOf(error: unknown): string {
  if (error instanceof GuestAgentProtocolError || error instanceof QmpConnectionError) return error.message;
  return error instanceof Error ? error.message : String(error);
}
