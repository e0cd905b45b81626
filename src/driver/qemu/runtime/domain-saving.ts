/** Guests in files: saved, restored, kept for the next start. The stream itself is `state-stream.ts`'s, dumps are `core-dump.ts`'s. */
import { closeSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { activeGuest, hideSecrets, requireDefined } from '../../../guest/domain-report.ts';
import { identityOf } from '../../../guest/domain-store.ts';
import type { Cpu } from '../../../model/domain/cpu.ts';
import { type Domain, formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import { formatXml } from '../../../xml/format.ts';
import { parseXml } from '../../../xml/parse.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { CreateOptions, DomainIdentity } from '../../driver.ts';
import type { CoreDumpOptions, SaveOptions, SavingOperations } from '../../saving-operations.ts';
import { requireSameGuest } from '../live/guest-abi.ts';
import { savedDefinition } from '../live/saved-definition.ts';
import { dumpCore } from './core-dump.ts';
import { openDirect } from './direct-io.ts';
import { JobOperation } from './domain-jobs.ts';
import type { DomainStarter } from './domain-starter.ts';
import type { DriverParts } from './driver-parts.ts';
import type { PreparedGuest } from './prepare-guest.ts';
import type { DomainRecord } from './qemu-record.ts';
import { decompressFrom, saveFormatOf } from './save-compression.ts';
import {
  type BegunSaveImage,
  beginSaveImage,
  finishSaveImage,
  type OpenSaveImage,
  openSaveImage,
  readSaveImage,
  rewriteSaveImage,
} from './save-image.ts';
import { giveUp, migrateInto, TargetFile } from './state-stream.ts';

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
    const { store, starter } = this.#parts;
    using image = openSaveImage(path);
    const saved = await hookedDefinition(this.#parts, parseSaved(image.xml, path), options.signal);
    const domain = options.xml === undefined ? saved : await sameGuest(starter, saved, options.xml, options.signal);
    const prepared = await prepareSaved(starter, domain, { image, path, signal: options.signal });
    const { name = '', uuid = '' } = prepared.context.domain;
    const record = store.claim(name, uuid);
    try {
      using _job = await record.job.acquire(options.signal);
      if (record.guest !== undefined) throw alreadyRuns(name);
      await startFrom(this.#parts, record, prepared, {
        image,
        path,
        paused: !isResumed(options, image.wasRunning),
        ...options,
      });
    } finally {
      store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async savedXml(path: string, { secure = false }: { readonly secure?: boolean } = {}): Promise<string> {
    const { xml } = readSaveImage(path);
    if (secure) return xml;
    const domain = parseSaved(xml, path);
    hideSecrets(domain);
    return formatDomain(domain);
  }

  async defineSaved(path: string, xml: string, options: Pick<SaveOptions, 'resume' | 'signal'> = {}): Promise<void> {
    const before = parseSaved(readSaveImage(path).xml, path);
    const changed = await sameGuest(this.#parts.starter, before, xml, options.signal);
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
    const path = this.#managedPath(uuid);
    try {
      rmSync(path);
    } catch (cause) {
      throw new VirtError(
        `failed to remove managed save file '${path}': ${cause instanceof Error ? cause.message : String(cause)}`,
        { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.QEMU, cause },
      );
    }
  }

  async managedSaveXml(uuid: string, options: { readonly secure?: boolean } = {}): Promise<string> {
    return await this.savedXml(this.#requireManaged(uuid), options);
  }

  async defineManagedSave(
    uuid: string,
    xml: string,
    options: Pick<SaveOptions, 'resume' | 'signal'> = {},
  ): Promise<void> {
    await this.defineSaved(this.#requireManaged(uuid), xml, options);
  }

  async coreDump(uuid: string, path: string, options: CoreDumpOptions = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    await dumpCore(this.#parts, record, path, options);
  }

  /** The guest pauses, its state goes to the file, and only then is it ended; a failure resumes it and removes the file. */
  async #save(record: DomainRecord, path: string, options: SaveOptions): Promise<void> {
    const { root, config, jobs, starter, emit } = this.#parts;
    const guest = activeGuest('save', record);
    const format = saveFormatOf(options.format ?? config.saveImageFormat);
    const live = savedDefinition(guest.domain, root.layout);
    const domain = options.xml === undefined ? live : await sameGuest(starter, live, options.xml, options.signal);
    const wasRunning = guest.state === DomainState.RUNNING;
    using job = jobs.begin(record, JobOperation.SAVE);
    const target = new TargetFile(path);
    let begun: BegunSaveImage | undefined;
    try {
      if (wasRunning) await guest.pauseFor(StateReason.paused.SAVE, options.signal);
      const header = { xml: formatDomain(domain), wasRunning: isResumed(options, wasRunning), format };
      begun = beginSaveImage(path, header);
      target.opened(begun.fd);
      using direct = options.bypassCache === true ? openDirect(path, 'write', begun.streamOffset) : undefined;
      const scratchDir = root.layout.roots.run;
      const stream = { job, format, scratchDir, signal: options.signal };
      const result = await migrateInto(guest.qmp, { fd: begun.fd, direct }, stream);
      finishSaveImage(begun.fd);
      emit(record, { event: 'job-completed', parameters: job.complete(result) });
    } catch (error) {
      await giveUp(guest, target, wasRunning);
      throw error;
    } finally {
      if (begun !== undefined) closeSync(begun.fd);
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

/** What a start of a defined domain restores, if it was saved: the file is removed only once the guest runs. */
export async function startSaved(
  { root, starter, hooks }: Pick<DriverParts, 'root' | 'starter' | 'hooks'>,
  record: DomainRecord,
  options: Pick<CreateOptions, 'paused' | 'forceBoot' | 'bypassCache' | 'signal'>,
): Promise<boolean> {
  const path = root.layout.managedSaveFile(record.name);
  if (!existsSync(path)) return false;
  if (options.forceBoot === true) {
    rmSync(path);
    return false;
  }
  requireDefined(record, 'create');
  using image = openSaveImage(path);
  const saved = await hookedDefinition({ hooks, starter }, parseSaved(image.xml, path), options.signal);
  const prepared = await prepareSaved(starter, saved, { image, path, signal: options.signal });
  const paused = options.paused === true || !image.wasRunning;
  const { bypassCache, signal } = options;
  await startFrom({ root, starter }, record, prepared, { image, path, paused, bypassCache, signal });
  rmSync(path);
  return true;
}

interface SavedStart {
  readonly image: OpenSaveImage;
  readonly path: string;
  readonly paused: boolean;
  readonly bypassCache?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** QEMU reads the stream from the file, or from the program that unpacks it. */
async function startFrom(
  { root, starter }: Pick<DriverParts, 'root' | 'starter'>,
  record: DomainRecord,
  prepared: PreparedGuest,
  { image, path, paused, bypassCache, signal }: SavedStart,
): Promise<void> {
  using direct = bypassCache === true ? openDirect(path, 'read', image.streamOffset) : undefined;
  const scratchDir = root.layout.roots.run;
  await using filter = await decompressFrom({ fd: image.fd, direct }, image.format, { scratchDir, signal });
  try {
    const stop =
      filter === undefined ? signal : AbortSignal.any([filter.broken, ...(signal === undefined ? [] : [signal])]);
    await starter.start(record, prepared, { paused, signal: stop, incomingFd: filter?.fd ?? image.fd });
  } catch (error) {
    throw (await filter?.failure()) ?? error;
  }
}

/** With the CPU that it had. */
async function prepareSaved(
  starter: DomainStarter,
  saved: Domain,
  { image, path, signal }: { image: OpenSaveImage; path: string; signal: AbortSignal | undefined },
): Promise<PreparedGuest> {
  const cpu = cpuOf(image, path);
  return await starter.prepare(cpu === undefined ? saved : { ...saved, cpu }, { signal });
}

function parseSaved(xml: string, path: string): Domain {
  return parseDomain(xml, { fileName: path }).domain;
}

/** What a hook script has to say to a saved definition: another one, or nothing. @throws VirtError HOOK_SCRIPT_FAILED */
async function hookedDefinition(
  { hooks, starter }: Pick<DriverParts, 'hooks' | 'starter'>,
  domain: Domain,
  signal: AbortSignal | undefined,
): Promise<Domain> {
  if (!hooks.has('qemu')) return domain;
  const call = { driver: 'qemu', object: domain.name ?? '-', operation: 'restore', subOperation: 'begin' } as const;
  const xml = await hooks.run({ ...call, xml: formatDomain(domain) }, { signal });
  return xml === '' ? domain : await sameGuest(starter, domain, xml, signal);
}

/** Another definition for the same guest, filled in where it leaves things open. @throws VirtError CONFIG_UNSUPPORTED */
async function sameGuest(
  starter: DomainStarter,
  before: Domain,
  xml: string,
  signal: AbortSignal | undefined,
): Promise<Domain> {
  const after = parseDomain(xml).domain;
  const [old, next] = await Promise.all([before, after].map((domain) => starter.prepare(domain, { signal })));
  if (old !== undefined && next !== undefined) requireSameGuest(old.context.domain, next.context.domain);
  return after;
}

/** The CPU as QEMU had it when the guest was saved, where libvirt has noted it: the restored one must have the same. */
function cpuOf({ cookie }: Pick<OpenSaveImage, 'cookie'>, path: string): Cpu | undefined {
  if (cookie === undefined) return undefined;
  const { root } = parseXml(cookie, { fileName: path });
  const cpu = root.elements('cpu')[0];
  return cpu === undefined
    ? undefined
    : parseDomain(`<domain>${formatXml(cpu)}</domain>`, { fileName: path }).domain.cpu;
}

function isResumed({ resume }: Pick<SaveOptions, 'resume'>, wasRunning: boolean): boolean {
  return resume === undefined ? wasRunning : resume === 'running';
}

function alreadyRuns(name: string): VirtError {
  return new VirtError(`domain '${name}' is already running: it cannot be restored over itself`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}
