/** Core dumps: the state of a running guest in a file for people who look into it; the guest goes on, or is ended or reset. */
import { closeSync, openSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { activeGuest } from '../../../guest/domain-report.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { CoreDumpOptions } from '../../saving-operations.ts';
import { openDirect } from './direct-io.ts';
import { type ActiveJob, JobOperation, type Numbers } from './domain-jobs.ts';
import type { DriverParts } from './driver-parts.ts';
import type { DomainRecord } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';
import { saveFormatOf } from './save-compression.ts';
import type { SaveFormat } from './save-image.ts';
import { dumpMemoryInto, giveUp, migrateInto, TargetFile } from './state-stream.ts';

const log = new LogSource('qemu.qemu_driver');
/** QEMU's formats of memory dumps. */
const DUMP_FORMATS = {
  raw: 'elf',
  'kdump-zlib': 'kdump-zlib',
  'kdump-lzo': 'kdump-lzo',
  'kdump-snappy': 'kdump-snappy',
  'win-dmp': 'win-dmp',
} as const;

/** The caller holds the domain's lock. */
export async function dumpCore(
  parts: Pick<DriverParts, 'jobs' | 'emit' | 'config' | 'root'>,
  record: DomainRecord,
  path: string,
  options: CoreDumpOptions,
): Promise<void> {
  const guest = activeGuest('coreDump', record);
  requireDumpFormat(options);
  using job = parts.jobs.begin(record, JobOperation.DUMP);
  const wasRunning = guest.state === DomainState.RUNNING;
  const target = new TargetFile(path);
  try {
    if (wasRunning && options.live !== true) await guest.pauseFor(StateReason.paused.DUMP, options.signal);
    const result = await dump(parts, guest, target, { ...options, job });
    parts.emit(record, { event: 'job-completed', parameters: job.complete(result) });
  } catch (error) {
    await giveUp(guest, target, wasRunning);
    throw error;
  }
  if (options.crash === true) await guest.endAs('crashed', 'its memory was dumped, and it was ended as asked for');
  else if (options.reset === true) await guest.reset(options.signal);
  // QEMU stops a guest whose whole state it has written, whoever wanted it to run meanwhile.
  if (options.crash !== true && wasRunning) await guest.qmp.execute('cont', undefined, { signal: options.signal });
}

async function dump(
  { config, root }: Pick<DriverParts, 'config' | 'root'>,
  { qmp }: RunningGuest,
  target: TargetFile,
  { memoryOnly, format = 'raw', bypassCache = false, job, signal }: CoreDumpOptions & { readonly job: ActiveJob },
): Promise<Numbers> {
  const fd = target.opened(openFile(target.path));
  try {
    using direct = bypassCache ? openDirect(target.path, 'write', 0) : undefined;
    const file = { fd, direct };
    const options = { job, scratchDir: root.layout.roots.run, signal };
    if (memoryOnly === true) return await dumpMemoryInto(qmp, file, { ...options, format: DUMP_FORMATS[format] });
    return await migrateInto(qmp, file, { ...options, format: compressionOf(config.dumpImageFormat) });
  } finally {
    closeSync(fd);
  }
}

/** As libvirt: a dump that is not compressed is better than none. */
function compressionOf(name: string): SaveFormat {
  try {
    return saveFormatOf(name);
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    log.warn('compressionOf', () => `dump_image_format: ${error.message}: the dump is not compressed`);
    return 'raw';
  }
}

function requireDumpFormat({ memoryOnly, format = 'raw' }: CoreDumpOptions): void {
  if (memoryOnly === true || format === 'raw') return;
  throw new VirtError('a format other than raw is for dumps of the memory only (memory-only)', {
    code: ErrorCode.OPERATION_UNSUPPORTED,
    domain: ErrorDomain.QEMU,
  });
}

function openFile(path: string): number {
  try {
    return openSync(path, 'w', 0o600);
  } catch (cause) {
    throw new VirtError(`failed to create file '${path}': ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: ErrorCode.SYSTEM_ERROR,
      domain: ErrorDomain.QEMU,
      cause,
    });
  }
}
