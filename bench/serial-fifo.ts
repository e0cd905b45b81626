/**
 * The host end of `<serial type='pipe'>`: a pair of FIFOs that the bench opens before the guest is started, so that the moment of
 * the guest's first byte is taken in the same way whoever starts QEMU.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { raceSignal } from '../src/core/abort.ts';

export class SerialFifo implements Disposable {
  /** When the guest's last byte so far came, by `performance.now()`. */
  lastByteMs = Number.NaN;
  readonly #path: string;
  readonly #socket: Socket;
  readonly #inputFd: number;
  readonly #firstByte: Promise<number>;

  /** @param path what the XML names; `.in` and `.out` are appended */
  constructor(path: string) {
    this.#path = path;
    this.#remove();
    execFileSync('mkfifo', ['-m', '0666', `${path}.in`, `${path}.out`]);
    // Opened for both, so that neither open blocks and QEMU's end of the FIFO is never the end of ours.
    const flags = constants.O_RDWR | constants.O_NONBLOCK;
    this.#inputFd = openSync(`${path}.in`, flags);
    this.#socket = new Socket({ fd: openSync(`${path}.out`, flags), readable: true, writable: false });
    this.#firstByte = new Promise((resolve, reject) => {
      this.#socket.on('data', () => {
        this.lastByteMs = performance.now();
        resolve(this.lastByteMs);
      });
      this.#socket.on('error', reject);
    });
    // Nobody may be waiting yet.
    this.#firstByte.catch(() => {});
  }

  /** When the guest's first byte came. @throws the signal's reason */
  async firstByte(signal: AbortSignal): Promise<number> {
    return await raceSignal(this.#firstByte, signal);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    closeSync(this.#inputFd);
    this.#remove();
  }

  #remove(): void {
    for (const end of ['in', 'out']) rmSync(`${this.#path}.${end}`, { force: true });
  }
}
