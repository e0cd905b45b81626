/** Programs in a connection's containers, signals to them, and the doors to their namespaces. */
import { closeSync, openSync, readlinkSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { activeGuest } from '../../../guest/domain-report.ts';
import { errnoOf } from '../../../process/process-error.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type { ExecOperations, ExecOptions, ExecResult } from '../../exec-operations.ts';
import type { LxcParts } from './lxc-parts.ts';
import { pidInside, runInContainer } from './run-in-container.ts';

/** In the order in which they are entered: the first gives the right to enter the others. */
const NAMESPACES = ['user', 'ipc', 'uts', 'net', 'pid', 'mnt'] as const;
/** As many as the kernel has. */
const LAST_SIGNAL = 64;

export class ContainerExec implements ExecOperations {
  readonly #parts: LxcParts;

  constructor(parts: LxcParts) {
    this.#parts = parts;
  }

  async exec(uuid: string, command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return await runInContainer(this.#initOf('exec', uuid), command, options);
  }

  async sendSignal(uuid: string, pid: number, signal: number): Promise<void> {
    if (!Number.isInteger(signal) || signal < 0 || signal > LAST_SIGNAL) {
      throw invalid(`there is no signal ${signal}: they are 1 to ${LAST_SIGNAL}`);
    }
    const found = pid > 0 ? pidInside(this.#initOf('sendSignal', uuid), pid) : undefined;
    const gone = `container '${this.#parts.store.byUuid(uuid).name}' has no process ${pid}`;
    if (found === undefined) throw invalid(gone);
    try {
      process.kill(found, signal);
    } catch (error) {
      if (errnoOf(error) === 'ESRCH') throw invalid(gone);
      throw error;
    }
  }

  async openNamespaces(uuid: string): Promise<readonly number[]> {
    const init = this.#initOf('openNamespaces', uuid);
    const opened: number[] = [];
    try {
      for (const name of NAMESPACES) {
        const path = `/proc/${init}/ns/${name}`;
        // Who is in it already cannot enter it.
        if (readlinkSync(path) !== readlinkSync(`/proc/self/ns/${name}`)) opened.push(openSync(path, 'r'));
      }
      return opened;
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw error;
    }
  }

  #initOf(operation: DomainOperation, uuid: string): number {
    const record = this.#parts.store.byUuid(uuid);
    const { initPid } = activeGuest(operation, record);
    if (initPid !== undefined) return initPid;
    throw new VirtError(`container '${record.name}' has no first program any more`, {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.LXC,
    });
  }
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.LXC });
}
