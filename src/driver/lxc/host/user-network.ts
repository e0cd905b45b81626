/**
 * Connects a container of a user without rights: its loopback, and slirp4netns where it has an interface. That runs in the container's outer PID
 * namespace, so that the kernel ends it with the container, whoever has died by then.
 */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import type { HostForward } from '../../../guest/host-forwards.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { runCommand } from '../../../process/run-command.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { planUserNetwork, type UserNetwork } from '../plan/user-network.ts';
import { enterOptions } from './enter-namespaces.ts';

const log = new LogSource('lxc.lxc_process');
const READY_FD = 3;

export interface UserConnection {
  /** A process in the container's network namespace. */
  readonly pid: number;
  /** The outermost process of the container. */
  readonly outer: number;
  /** For its socket. */
  readonly dir: string;
  /** The container outlives this process. */
  readonly isKept: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** @throws VirtError naming what is missing, or what slirp4netns says */
export async function connectUser(domain: Domain, connection: UserConnection): Promise<void> {
  const { pid, signal } = connection;
  const args = [...enterOptions(pid, ['-n']), '--', 'ip', 'link', 'set', 'dev', 'lo', 'up'];
  const { status, stderr } = await runCommand('nsenter', args, { signal });
  if (status !== 0) throw failed(`its loopback interface cannot be set up: ${stderr.trim()}`);
  const network = planUserNetwork(domain);
  if (network === undefined) return;
  await startSlirp(network, connection);
  for (const forward of network.forwards) await addForward(socketIn(connection.dir), forward, signal);
}

/** @throws VirtError naming the package */
export function requireSlirp(domain: Domain): void {
  if (planUserNetwork(domain) === undefined || lookUpProgram('slirp4netns') !== undefined) return;
  throw new VirtError("unsupported configuration: <interface type='user'> needs slirp4netns: install it", {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.LXC,
  });
}

/** Resolves when the interface is there. */
async function startSlirp({ name, options }: UserNetwork, connection: UserConnection): Promise<void> {
  const { pid, outer, dir, isKept, signal } = connection;
  const args = [
    ...enterOptions(outer, [`--pid=/proc/${outer}/ns/pid_for_children`]),
    '--',
    'slirp4netns',
    ...options,
    `--ready-fd=${READY_FD}`,
    `--api-socket=${socketIn(dir)}`,
    String(pid),
    name,
  ];
  const child = await spawnChild(
    {
      command: 'nsenter',
      args,
      stdio: ['ignore', 'ignore', 'tail', 'pipe'],
      dieWithParent: !isKept,
      newSession: true,
    },
    { signal },
  );
  const ready = child.duplex(READY_FD);
  try {
    const ended = child.exited.then(({ stderrTail }) => {
      const words = stderrTail.trim().split('\n').join('; ');
      const hint = /net\/tun.*denied/.test(words) ? ' (as root: chmod 666 /dev/net/tun, as udev does)' : '';
      throw failed(`slirp4netns has ended: ${words}${hint}`);
    });
    // Once the interface is there, its end is the container's and no failure.
    ended.catch(() => {});
    await Promise.race([once(ready, 'data', { signal }), ended]);
    log.debug('startSlirp', () => `${name} of process ${pid}: slirp4netns is below ${child.pid}`);
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  ready.destroy();
  child.release();
}

/** One request a connection; the answer is a line of JSON. */
async function addForward(socket: string, forward: HostForward, signal: AbortSignal | undefined): Promise<void> {
  const { proto, address, port, guestPort } = forward;
  const request = {
    execute: 'add_hostfwd',
    arguments: {
      proto,
      ...(address === undefined ? {} : { host_addr: address }),
      host_port: port,
      guest_port: guestPort,
    },
  };
  const connection = createConnection(socket);
  try {
    await once(connection, 'connect', { signal });
    connection.end(JSON.stringify(request));
    let text = '';
    connection.setEncoding('utf8');
    connection.on('data', (part: string) => (text += part));
    await once(connection, 'end', { signal });
    const error = memberOf(JSON.parse(text === '' ? '{}' : text), 'error');
    if (error === undefined) return;
    const hint =
      port < FIRST_FREE_PORT
        ? `ports below ${FIRST_FREE_PORT} are root's (net.ipv4.ip_unprivileged_port_start)`
        : 'something else may listen there already';
    throw failed(
      `port ${port} (${proto}) of the host cannot be forwarded: ${String(memberOf(error, 'desc'))}; ${hint}`,
    );
  } finally {
    connection.destroy();
  }
}

const FIRST_FREE_PORT = 1024;

function socketIn(dir: string): string {
  return join(dir, 'slirp');
}

function failed(why: string): VirtError {
  return new VirtError(`cannot connect the container: ${why}`, {
    code: ErrorCode.SYSTEM_ERROR,
    domain: ErrorDomain.LXC,
  });
}
