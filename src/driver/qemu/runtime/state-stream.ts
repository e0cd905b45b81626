/** A running guest's state on its way into a file: QEMU writes it to a descriptor, through a compressing program where one is wanted. */
import { existsSync, fstatSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import { type ActiveJob, dumpProgress, migrationProgress, type Numbers } from './domain-jobs.ts';
import type { RunningGuest } from './running-guest.ts';
import { compressInto, type FilterOptions, type StreamFile } from './save-compression.ts';
import type { SaveFormat } from './save-image.ts';

const log = new LogSource('qemu.qemu_driver');
const POLL_MS = 10;
const FD_NAME = 'nestling-state';

export interface StreamOptions extends FilterOptions {
  readonly job: ActiveJob;
  readonly format: SaveFormat;
}

/**
 * QEMU's state as a stream, into an open file from where it stands.
 * @returns what is to be told of the job @throws VirtError OPERATION_ABORTED where somebody has ended the job
 */
export async function migrateInto(qmp: QmpClient, file: StreamFile, options: StreamOptions): Promise<Numbers> {
  return await writeThrough(file, options.format, options, (fd, handedOver) => migrate(qmp, fd, options, handedOver));
}

/** QEMU writes into a file, through the programs that stand before it. */
async function writeThrough(
  file: StreamFile,
  format: SaveFormat,
  options: FilterOptions,
  write: (fd: number, handedOver: () => void) => Promise<Numbers>,
): Promise<Numbers> {
  await using filter = await compressInto(file, format, options);
  try {
    const result = await write(filter?.fd ?? file.fd, () => filter?.handedOver());
    await filter?.finished();
    return result;
  } catch (error) {
    // Of two that fail together the program knows why.
    throw (await filter?.failure()) ?? error;
  }
}

async function migrate(
  qmp: QmpClient,
  fd: number,
  { job, signal }: StreamOptions,
  handedOver: () => void,
): Promise<Numbers> {
  // Without a limit: there is no network to be kept free.
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': Number.MAX_SAFE_INTEGER }, { signal });
  const uri = await handOver(qmp, fd, signal);
  handedOver();
  job.follow(async () => migrationProgress(await qmp.execute('query-migrate')), { canAbort: true });
  await qmp.execute('migrate', { uri }, { signal });
  return migrationProgress(await untilDone(qmp, 'query-migrate', { job, signal }));
}

/** The guest's memory alone, in a format of `dump-guest-memory`. QEMU does not stop once it has begun. */
export async function dumpMemoryInto(
  qmp: QmpClient,
  file: StreamFile,
  { job, format, scratchDir, signal }: Omit<StreamOptions, 'format'> & { readonly format: string },
): Promise<Numbers> {
  return await writeThrough(file, 'raw', { scratchDir, signal }, async (fd, handedOver) => {
    const protocol = await handOver(qmp, fd, signal);
    handedOver();
    job.follow(async () => dumpProgress(await qmp.execute('query-dump')), { canAbort: false });
    await qmp.execute('dump-guest-memory', { paging: false, protocol, detach: true, format }, { signal });
    return dumpProgress(await untilDone(qmp, 'query-dump', { job, signal }));
  });
}

/** Gives QEMU a descriptor. @returns its address there */
async function handOver(qmp: QmpClient, fd: number, signal: AbortSignal | undefined): Promise<string> {
  await qmp.execute('getfd', { fdname: FD_NAME }, { fds: [fd], signal });
  return `fd:${FD_NAME}`;
}

async function untilDone(
  qmp: QmpClient,
  query: 'query-migrate' | 'query-dump',
  { job, signal }: Pick<StreamOptions, 'job' | 'signal'>,
): Promise<unknown> {
  let isCancelled = false;
  for (;;) {
    const reply: unknown = await qmp.execute(query);
    const status = memberOf(reply, 'status');
    // What was done in time is done.
    if (status === 'completed') return reply;
    if (status === 'failed' || status === 'cancelled') {
      signal?.throwIfAborted();
      job.aborted.throwIfAborted();
      const why = memberOf(reply, 'error-desc');
      throw new VirtError(`QEMU could not write the guest's state: ${typeof why === 'string' ? why : status}`, {
        code: ErrorCode.OPERATION_FAILED,
        domain: ErrorDomain.QEMU,
      });
    }
    if ((signal?.aborted === true || job.aborted.aborted) && !isCancelled && query === 'query-migrate') {
      isCancelled = true;
      await qmp.execute('migrate_cancel');
    }
    await pause(POLL_MS);
  }
}

/** A file that is being written: removed after a failure only where it was made here, and is a plain file. */
export class TargetFile {
  readonly path: string;
  readonly #wasThere: boolean;
  #isOurs = false;

  constructor(path: string) {
    this.path = path;
    this.#wasThere = existsSync(path);
  }

  opened(fd: number): number {
    this.#isOurs = !this.#wasThere && fstatSync(fd).isFile();
    return fd;
  }

  remove(): void {
    if (this.#isOurs) rmSync(this.path, { force: true });
  }
}

/** After a failure: the guest goes on first, whatever else fails then; the reason of the failure is the caller's. */
export async function giveUp(guest: RunningGuest, target: TargetFile, wasRunning: boolean): Promise<void> {
  try {
    if (wasRunning && !guest.hasEnded) await guest.resume();
  } catch (error) {
    log.error(
      'resume',
      () => `vm=${guest.domain.name ?? ''}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  target.remove();
}
