/** Guests in files: saved, restored, kept for the next start, dumped. */
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { type Domain, formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { DomainIdentity } from '../../driver.ts';
import type { CoreDumpOptions, SaveOptions, SavingOperations } from '../../saving-operations.ts';
import { notRunning } from './affected-domain.ts';
import { requireDefined } from './domain-report.ts';
import { type DomainRecord, identityOf } from './domain-store.ts';
import type { DriverParts } from './driver-parts.ts';
import type { RunningGuest } from './running-guest.ts';
import {
  beginSaveImage,
  finishSaveImage,
  openSaveImage,
  readSaveImage,
  rewriteSaveImage,
  SAVE_FORMATS,
} from './save-image.ts';

const log = new LogSource('qemu.qemu_driver');
const POLL_MS = 10;
/** QEMU's formats of memory dumps. */
const DUMP_FORMATS = {
  raw: 'elf',
  'kdump-zlib': 'kdump-zlib',
  'kdump-lzo': 'kdump-lzo',
  'kdump-snappy': 'kdump-snappy',
  'win-dmp': 'win-dmp',
} as const;

export class DomainSaving implements SavingOperations {
  readonly #parts: DriverParts;

  constructor(parts: DriverParts) {
    this.#parts = parts;
  }

  async save(uuid: string, path: string, options: SaveOptions = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    await this.#save(record, path, options);
  }

  async restore(path: string, options: SaveOptions = {}): Promise<DomainIdentity> {
    using image = openSaveImage(path);
    requireRaw(image.format);
    const saved = await hookedDefinition(this.#parts, parseSaved(image.xml, path), options.signal);
    const domain = options.xml === undefined ? saved : sameGuest(saved, options.xml);
    const prepared = await this.#parts.starter.prepare(domain, { signal: options.signal });
    const { name = '', uuid = '' } = prepared.context.domain;
    const record = this.#parts.store.claim(name, uuid);
    try {
      using _job = await record.job.acquire(options.signal);
      if (record.guest !== undefined) throw alreadyRuns(name);
      const resume = isResumed(options, image.wasRunning);
      await this.#parts.starter.start(record, prepared, {
        paused: !resume,
        signal: options.signal,
        incomingFd: image.fd,
      });
    } finally {
      this.#parts.store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async savedXml(path: string): Promise<string> {
    return readSaveImage(path).xml;
  }

  async defineSaved(path: string, xml: string, options: Pick<SaveOptions, 'resume'> = {}): Promise<void> {
    const changed = sameGuest(parseSaved(readSaveImage(path).xml, path), xml);
    rewriteSaveImage(path, {
      xml: formatDomain(changed),
      ...(options.resume === undefined ? {} : { wasRunning: options.resume === 'running' }),
    });
  }

  async managedSave(uuid: string, options: Omit<SaveOptions, 'xml'> = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    if (!record.isDefined) {
      throw new VirtError('cannot do managed save for transient domain', {
        code: ErrorCode.OPERATION_INVALID,
        domain: ErrorDomain.QEMU,
      });
    }
    const path = this.#parts.root.layout.managedSaveFile(record.name);
    mkdirSync(this.#parts.root.layout.managedSaveDir, { recursive: true, mode: 0o700 });
    await this.#save(record, path, options);
  }

  async hasManagedSave(uuid: string): Promise<boolean> {
    return existsSync(this.#managedPath(uuid));
  }

  async removeManagedSave(uuid: string): Promise<void> {
    rmSync(this.#managedPath(uuid), { force: true });
  }

  async managedSaveXml(uuid: string): Promise<string> {
    return readSaveImage(this.#requireManaged(uuid)).xml;
  }

  async defineManagedSave(uuid: string, xml: string, options: Pick<SaveOptions, 'resume'> = {}): Promise<void> {
    await this.defineSaved(this.#requireManaged(uuid), xml, options);
  }

  async coreDump(uuid: string, path: string, options: CoreDumpOptions = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const guest = requireGuest(record);
    requireDumpFormat(options);
    const wasRunning = guest.state === DomainState.RUNNING;
    const target = new TargetFile(path);
    if (wasRunning && options.live !== true) await guest.pauseFor(StateReason.paused.DUMP, options.signal);
    try {
      await this.#dump(guest, target, options);
    } catch (error) {
      await giveUp(guest, target, wasRunning);
      throw error;
    }
    if (options.crash === true) await guest.endAs('crashed', 'its memory was dumped, and it was ended as asked for');
    else if (options.reset === true) await guest.reset(options.signal);
    if (options.crash !== true && wasRunning && options.live !== true) await guest.resume();
  }

  async #dump(
    guest: RunningGuest,
    target: TargetFile,
    { memoryOnly, format = 'raw', signal }: CoreDumpOptions,
  ): Promise<void> {
    const fd = target.opened(openFile(target.path));
    try {
      if (memoryOnly === true) {
        const protocol = await handOver(guest.qmp, fd, signal);
        const args = { paging: false, protocol, detach: true, format: DUMP_FORMATS[format] };
        await guest.qmp.execute('dump-guest-memory', args, { signal });
        await untilDone(guest.qmp, 'query-dump', signal);
      } else {
        await migrateTo(guest.qmp, fd, signal);
      }
    } finally {
      closeSync(fd);
    }
  }

  /** The guest pauses, its state goes to the file, and only then is it ended; a failure resumes it and removes the file. */
  async #save(record: DomainRecord, path: string, options: SaveOptions): Promise<void> {
    const guest = requireGuest(record);
    requireRaw(options.format ?? 'raw');
    const wasRunning = guest.state === DomainState.RUNNING;
    const live = cloneDefinition(guest.domain);
    const domain = options.xml === undefined ? live : sameGuest(live, options.xml);
    delete domain.id;
    const target = new TargetFile(path);
    if (wasRunning) await guest.pauseFor(StateReason.paused.SAVE, options.signal);
    let fd: number | undefined;
    try {
      const resume = isResumed(options, wasRunning);
      fd = target.opened(beginSaveImage(path, { xml: formatDomain(domain), wasRunning: resume, format: 'raw' }));
      await migrateTo(guest.qmp, fd, options.signal);
      finishSaveImage(fd);
    } catch (error) {
      await giveUp(guest, target, wasRunning);
      throw error;
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
    await guest.endAs('saved', `the guest was saved to ${path}`);
  }

  #managedPath(uuid: string): string {
    return this.#parts.root.layout.managedSaveFile(this.#parts.store.byUuid(uuid).name);
  }

  #requireManaged(uuid: string): string {
    const path = this.#managedPath(uuid);
    if (existsSync(path)) return path;
    throw new VirtError('domain does not have managed save image', {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.QEMU,
    });
  }
}

/** A file that is being written: removed after a failure only where it was made here, and is a plain file. */
class TargetFile {
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
async function giveUp(guest: RunningGuest, target: TargetFile, wasRunning: boolean): Promise<void> {
  try {
    if (wasRunning) await guest.resume();
  } catch (error) {
    log.error(
      'resume',
      () => `vm=${guest.domain.name ?? ''}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  target.remove();
}

function requireDumpFormat({ memoryOnly, format = 'raw' }: CoreDumpOptions): void {
  if (memoryOnly === true || format === 'raw') return;
  throw new VirtError('a format other than raw is for dumps of the memory only (memory-only)', {
    code: ErrorCode.OPERATION_UNSUPPORTED,
    domain: ErrorDomain.QEMU,
  });
}

/** What a start of a defined domain restores, if it was saved: the file is removed only once the guest runs. */
export async function startSaved(
  { root, starter, hooks }: Pick<DriverParts, 'root' | 'starter' | 'hooks'>,
  record: DomainRecord,
  options: { readonly paused?: boolean; readonly forceBoot?: boolean; readonly signal?: AbortSignal | undefined },
): Promise<boolean> {
  const path = root.layout.managedSaveFile(record.name);
  if (!existsSync(path)) return false;
  if (options.forceBoot === true) {
    rmSync(path);
    return false;
  }
  requireDefined(record, 'create');
  using image = openSaveImage(path);
  requireRaw(image.format);
  const saved = await hookedDefinition({ hooks }, parseSaved(image.xml, path), options.signal);
  const prepared = await starter.prepare(saved, { signal: options.signal });
  const paused = options.paused === true || !image.wasRunning;
  await starter.start(record, prepared, { paused, signal: options.signal, incomingFd: image.fd });
  rmSync(path);
  return true;
}

/** QEMU's state as a stream, into an open file from where it stands. */
async function migrateTo(qmp: QmpClient, fd: number, signal: AbortSignal | undefined): Promise<void> {
  // Without a limit: there is no network to be kept free.
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': Number.MAX_SAFE_INTEGER }, { signal });
  const uri = await handOver(qmp, fd, signal);
  await qmp.execute('migrate', { uri }, { signal });
  try {
    await untilDone(qmp, 'query-migrate', signal);
  } catch (error) {
    if (signal?.aborted === true) await qmp.execute('migrate_cancel').catch(() => undefined);
    throw error;
  }
}

/** Gives QEMU a descriptor. @returns its address there */
async function handOver(qmp: QmpClient, fd: number, signal: AbortSignal | undefined): Promise<string> {
  await qmp.execute('getfd', { fdname: 'nestling-state' }, { fds: [fd], signal });
  return 'fd:nestling-state';
}

async function untilDone(
  qmp: QmpClient,
  query: 'query-migrate' | 'query-dump',
  signal: AbortSignal | undefined,
): Promise<void> {
  for (;;) {
    const reply: unknown = await qmp.execute(query, undefined, { signal });
    const status: unknown = typeof reply === 'object' && reply !== null ? Reflect.get(reply, 'status') : undefined;
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled') {
      const why: unknown = typeof reply === 'object' && reply !== null ? Reflect.get(reply, 'error-desc') : undefined;
      throw new VirtError(`QEMU could not write the guest's state: ${typeof why === 'string' ? why : status}`, {
        code: ErrorCode.OPERATION_FAILED,
        domain: ErrorDomain.QEMU,
      });
    }
    await pause(POLL_MS, undefined, { signal });
  }
}

function parseSaved(xml: string, path: string): Domain {
  return parseDomain(xml, { fileName: path }).domain;
}

/** What a hook script has to say to a saved definition: another one, or nothing. @throws VirtError HOOK_SCRIPT_FAILED */
async function hookedDefinition(
  { hooks }: Pick<DriverParts, 'hooks'>,
  domain: Domain,
  signal: AbortSignal | undefined,
): Promise<Domain> {
  if (!hooks.has('qemu')) return domain;
  const call = { driver: 'qemu', object: domain.name ?? '-', operation: 'restore', subOperation: 'begin' } as const;
  const xml = await hooks.run({ ...call, xml: formatDomain(domain) }, { signal });
  return xml === '' ? domain : sameGuest(domain, xml);
}

/** Another definition for the same guest: what it sees must not change. */
function sameGuest(before: Domain, xml: string): Domain {
  const after = parseDomain(xml).domain;
  const visible = (domain: Domain): string =>
    JSON.stringify([
      domain.uuid,
      domain.name,
      domain.memory?.value,
      domain.vcpu?.value,
      domain.os?.type,
      (domain.devices?.disks ?? []).map(({ target, device }) => [target?.dev, target?.bus, device ?? 'disk']),
      (domain.devices?.interfaces ?? []).map(({ mac, model }) => [mac?.address, model?.type]),
    ]);
  if (visible(before) === visible(after)) return after;
  throw new VirtError(
    'the new definition changes what the guest sees: only files, limits and descriptions may differ',
    {
      code: ErrorCode.CONFIG_UNSUPPORTED,
      domain: ErrorDomain.QEMU,
    },
  );
}

function isResumed({ resume }: Pick<SaveOptions, 'resume'>, wasRunning: boolean): boolean {
  return resume === undefined ? wasRunning : resume === 'running';
}

function requireRaw(format: string): void {
  if (format === 'raw') return;
  const known = SAVE_FORMATS.some((candidate) => candidate === format);
  throw new VirtError(
    known
      ? `saved guests compressed with ${format} are not supported: save_image_format = "raw"`
      : `unknown save image format '${format}'`,
    { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU },
  );
}

function requireGuest(record: DomainRecord): RunningGuest {
  if (record.guest === undefined) throw notRunning(record);
  return record.guest;
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

function alreadyRuns(name: string): VirtError {
  return new VirtError(`domain '${name}' is already running: it cannot be restored over itself`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}
