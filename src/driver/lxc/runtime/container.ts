/** A container whose first program runs, whoever keeps it. */
import type { Duplex } from 'node:stream';
import type { GuestProcess } from '../../../guest/guest-process.ts';

/** How a container ended. */
export interface ContainerEnd {
  /** Of its first program: 128 and its number where a signal ended that. Undefined where nobody can tell any more. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** What the runtime said last, where it said something. */
  readonly lastWords: string;
}

export interface Container extends AsyncDisposable {
  /** The outermost process, with which the kernel ends all of the container. */
  readonly process: GuestProcess;
  /** First program of the container, as this process's PID namespace numbers it; undefined where it ended before anybody could look. */
  readonly initPid: number | undefined;
  readonly ended: Promise<ContainerEnd>;
  /** Both ends of its console; each call may open it anew. `fromNow`: without what was printed before. */
  openConsole(fromNow: boolean): Duplex;
  /** Sends a signal to the first program. */
  kill(signal: NodeJS.Signals): void;
  /** Ends all of it at once. Idempotent. */
  destroy(): Promise<ContainerEnd>;
  /** It runs on without this process; absent where it cannot. */
  release?(): void;
}
