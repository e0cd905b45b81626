/**
 * Programs in guests behind the protocol. It has a call for signals and one for the doors into a container; programs in virtual machines are
 * started by their agents, and those in containers by whoever is root on the same host.
 */
import { closeSync, fstatSync } from 'node:fs';
import type { AgentExec } from '../../driver/agent-exec.ts';
import type { Waiting } from '../../driver/driver.ts';
import type { ExecOperations, ExecOptions, ExecResult } from '../../driver/exec-operations.ts';
import { LXC_PROCEDURES as L, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import type { RemoteCalls } from './remote-call.ts';

/** Runs a program in the container on this host whose PID namespace has that inode. */
export type EnterContainer = (
  namespace: bigint,
  command: readonly string[],
  options: ExecOptions,
) => Promise<ExecResult>;

export interface RemoteExecInit {
  readonly calls: RemoteCalls;
  readonly agent: AgentExec;
  /** The server runs containers. */
  readonly hasContainers: boolean;
  readonly enterContainer: EnterContainer;
  /** A call whose reply brings descriptors, on a connection of its own. @throws VirtError NO_SUPPORT where none can pass */
  readonly callForDescriptors: (
    procedure: typeof L.domainOpenNamespace,
    args: Parameters<(typeof L.domainOpenNamespace)['args']['write']>[1],
    options: Waiting,
  ) => Promise<readonly number[]>;
}

export class RemoteExec implements ExecOperations {
  readonly #init: RemoteExecInit;

  constructor(init: RemoteExecInit) {
    this.#init = init;
  }

  async exec(uuid: string, command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    if (!this.#init.hasContainers) return await this.#init.agent.exec(uuid, command, options);
    const fds = await this.openNamespaces(uuid, options);
    try {
      // Open, they keep their numbers: nobody else's can be mistaken for them.
      return await this.#init.enterContainer(pidNamespaceOf(fds), command, options);
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  }

  async sendSignal(uuid: string, pid: number, signal: number, options: Waiting = {}): Promise<void> {
    const { calls } = this.#init;
    const dom = await calls.domain(uuid, options);
    await calls.call(P.domainSendProcessSignal, { dom, pidValue: BigInt(pid), signum: signal, flags: 0 }, options);
  }

  async openNamespaces(uuid: string, options: Waiting = {}): Promise<readonly number[]> {
    const dom = await this.#init.calls.domain(uuid, options);
    return await this.#init.callForDescriptors(L.domainOpenNamespace, { dom, flags: 0 }, options);
  }
}

/** The last but one: they come in the order in which they are entered, and the mounts are last. */
function pidNamespaceOf(fds: readonly number[]): bigint {
  const fd = fds.at(-2);
  return fd === undefined ? 0n : fstatSync(fd, { bigint: true }).ino;
}
