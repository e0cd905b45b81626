/** Programs in a running guest: started beside its own, sent signals, and the doors into a container. Part of the driver contract. */
import type { Waiting } from './driver.ts';

/** A program to run in a guest. */
export interface ExecOptions extends Waiting {
  /** Name or number in the guest, `USER:GROUP` too where the guest is a container; default: root, or whoever the agent is. */
  readonly user?: string | undefined;
  /** Its working directory; default: the guest's own choice. */
  readonly cwd?: string | undefined;
  /** `NAME=value`, besides what programs of the guest have. */
  readonly env?: readonly string[] | undefined;
  /** A terminal of the guest's joined with this process's; goes with `inherit`. Containers only. */
  readonly terminal?: boolean | undefined;
  /**
   * `capture` (default): its output is in the result. `inherit`: it reads and prints as this process does; an agent's output comes when the
   * program has ended.
   */
  readonly stdio?: 'capture' | 'inherit' | undefined;
  /** What it reads, where it does not read what this process reads; default: nothing. */
  readonly input?: Uint8Array | undefined;
}

export interface ExecResult {
  /** As a shell has it: 128 and the signal's number where a signal ended it. */
  readonly status: number;
  /** Empty where the output was not captured. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export interface ExecOperations {
  /**
   * Runs a program to its end, `command` being its name or path and its arguments. Giving up the wait ends it in a container; an agent has no
   * way to.
   * @throws VirtError where the guest is not reached; what the program itself does is in the result
   */
  exec(uuid: string, command: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** A signal, by its number, to a process by the number that it has in the guest. @throws VirtError NO_SUPPORT of virtual machines */
  sendSignal(uuid: string, pid: number, signal: number, options?: Waiting): Promise<void>;
  /**
   * Opens a container's namespaces that are not the daemon's own, in the order in which they are entered. The descriptors are the caller's.
   * @throws VirtError NO_SUPPORT of virtual machines, and through connections that no descriptor can pass
   */
  openNamespaces(uuid: string, options?: Waiting): Promise<readonly number[]>;
}
