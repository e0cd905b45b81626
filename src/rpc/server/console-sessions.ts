/**
 * Who has which console: one client of a server at a time, as with libvirtd, or two would type over each other without knowing. Programs
 * that hold the guest themselves are not counted.
 */
import type { Duplex } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { ConsoleStream } from '../../driver/driver.ts';

export class ConsoleSessions {
  readonly #open = new WeakMap<ConsoleStream, Duplex>();

  /** `force`: whoever has it loses it. @throws VirtError OPERATION_FAILED */
  open(console: ConsoleStream, force: boolean): Duplex {
    const other = this.#open.get(console);
    if (other !== undefined && !other.destroyed) {
      if (!force) {
        throw new VirtError('Active console session exists for this domain', {
          code: ErrorCode.OPERATION_FAILED,
          domain: ErrorDomain.STREAMS,
        });
      }
      other.destroy();
    }
    const stream = console.open({ replay: false });
    this.#open.set(console, stream);
    return stream;
  }
}
