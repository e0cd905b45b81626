/**
 * Terminals of a container beside its console: pairs of the host's, one end bound into the container as `/dev/ttyN`, the other held here. conmon may
 * hold it too, so that the programs on it do not lose it with the daemon.
 */
import { chownSync, closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import type { Domain } from '../../../model/domain/domain.ts';
import { copyForeignFd } from '../../../process/foreign-fd.ts';
import { openPtyPeer, unlockPty } from '../../../process/pty-peer.ts';
import type { ConsoleStream } from '../../driver.ts';
import { GuestConsole } from '../../guest-console.ts';

/** Group of terminals (`tty`), on every Linux. */
const TTY_GROUP = 5;

/** Numbers of `/dev/ttyN` beside the console. */
export function extraTerminalsOf({ devices }: Domain): number[] {
  return (devices?.consoles ?? []).slice(1).map((_, index) => index + 2);
}

interface Terminal {
  readonly number: number;
  readonly master: number;
  /** Held open, so that programs may come and go. */
  readonly peer: number;
  readonly path: string;
}

export class ExtraTerminals implements Disposable {
  readonly #terminals: readonly Terminal[];
  readonly #streams: ReadStream[] = [];
  #isOpen = true;

  private constructor(terminals: readonly Terminal[]) {
    this.#terminals = terminals;
  }

  /** `numbers`: of `/dev/ttyN`; `owner`: the container's root on the host, where that is not ourselves. @throws ProcessError, or the system's error; then none is left */
  static async open(numbers: readonly number[], owner: number | undefined): Promise<ExtraTerminals> {
    return await ExtraTerminals.#make(numbers, () => openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY), {
      prepare: unlockPty,
      finish: (path) => {
        if (owner !== undefined) chownSync(path, owner, owner + TTY_GROUP);
      },
    });
  }

  static async #make(
    numbers: readonly number[],
    masterOf: (index: number) => number | Promise<number>,
    steps: { readonly prepare?: (master: number) => Promise<void>; readonly finish?: (path: string) => void } = {},
  ): Promise<ExtraTerminals> {
    const opened: Terminal[] = [];
    try {
      for (const [index, number] of numbers.entries()) {
        const master = await masterOf(index);
        try {
          await steps.prepare?.(master);
          const peer = await openPtyPeer(master);
          const path = readlinkSync(`/proc/self/fd/${peer}`);
          opened.push({ number, master, peer, path });
          steps.finish?.(path);
        } catch (error) {
          if (!opened.some((terminal) => terminal.master === master)) closeSync(master);
          throw error;
        }
      }
      return new ExtraTerminals(opened);
    } catch (error) {
      for (const { master, peer } of opened) for (const fd of [master, peer]) closeSync(fd);
      throw error;
    }
  }

  /**
   * Of a container that runs already. `holder`: who holds them from `firstFd` on, in this order.
   * @throws ProcessError where they cannot be had; then none is left open
   */
  static async takeOver(
    numbers: readonly number[],
    { holder, firstFd }: { readonly holder: number; readonly firstFd: number },
  ): Promise<ExtraTerminals> {
    return await ExtraTerminals.#make(numbers, async (index) => await copyForeignFd(holder, firstFd + index));
  }

  /** For those who are to hold them besides. */
  get masters(): readonly number[] {
    return this.#terminals.map(({ master }) => master);
  }

  /** What is bound to `/dev/ttyN`. */
  pathOf(number: number): string {
    const found = this.#terminals.find((terminal) => terminal.number === number);
    if (found === undefined) throw new RangeError(`there is no terminal ${number}`);
    return found.path;
  }

  /** Reads what is printed on them from now on. */
  listen(): ConsoleStream[] {
    return this.#terminals.map(({ number, master }) => {
      const stream = new ReadStream(master);
      // Its end is the container's, which is told otherwise.
      stream.on('error', () => {});
      this.#streams.push(stream);
      return new GuestConsole(`tty${number}`, stream);
    });
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const { peer } of this.#terminals) closeSync(peer);
    if (this.#streams.length > 0) for (const stream of this.#streams) stream.destroy();
    else for (const { master } of this.#terminals) closeSync(master);
  }
}
