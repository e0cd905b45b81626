/**
 * From domain XML to a launch plan on this host: finds the emulator and its capabilities, fetches the facts that the
 * definition needs, settles the acceleration and lets the planner do the rest. Starts nothing.
 */

import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { randomBytes, randomUuid } from '../../../core/random.ts';
import { hostArch } from '../../../host/cpu.ts';
import type { HostFacts } from '../../../host/host-facts.ts';
import { readHugetlbfsMounts } from '../../../host/hugetlbfs.ts';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { FaultList } from '../../../model/schema/faults.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import type { CapabilitiesCache } from '../capabilities/cache.ts';
import type { QemuConfig } from '../config.ts';
import type { DomainContext, Lookup } from '../context.ts';
import { completeDefinition, validateDefinition } from '../definition/complete.ts';
import type { Layout } from '../layout.ts';
import { readSlowFacts, viewHost } from './host-view.ts';

const log = new LogSource('conf.domain_conf');

export interface PrepareOptions {
  readonly cache: CapabilitiesCache;
  readonly config: QemuConfig;
  readonly layout: Layout;
  readonly lookup: Lookup;
  readonly accel?: 'auto' | 'kvm' | 'tcg' | undefined;
  /** Name instead of the definition's. */
  readonly name?: string | undefined;
  readonly fileName?: string | undefined;
  readonly onMark?: ((mark: PrepareMark) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Moments on the way. */
export type PrepareMark = 'xml-parsed' | 'capabilities' | 'validated';

/** A definition ready to be planned. */
export interface PreparedGuest {
  readonly context: DomainContext;
  /** What the user should know: unknown elements, the acceleration that was chosen, the cache's state. */
  readonly notes: readonly string[];
}

/**
 * Completes and validates a definition for this host.
 * @throws XmlSyntaxError, DefinitionError (every fault at once), VirtError
 */
export async function prepareGuest(source: string | Domain, options: PrepareOptions): Promise<PreparedGuest> {
  const notes: string[] = [];
  const domain = readSource(source, options.fileName, notes);
  if (options.name !== undefined) domain.name = options.name;
  options.onMark?.('xml-parsed');
  domain.uuid ??= randomUuid();
  const emulator = findEmulator(domain.devices?.emulator, domain.os?.type?.arch ?? hostArch(), options.cache);
  const wantsKvm =
    options.accel === 'kvm' || options.accel === 'auto' || (options.accel === undefined && domain.type === 'kvm');
  const slow = await readSlowFacts({ kvm: wantsKvm, helpers: needsHelpers(domain), qemu: emulator }, options.signal);
  const host = viewHost(slow);
  settleAcceleration(domain, options.accel, host, notes);
  const found = await options.cache.get(emulator, domain.type === 'kvm' ? 'kvm' : 'tcg', { signal: options.signal });
  notes.push(...found.notes);
  options.onMark?.('capabilities');
  const context: DomainContext = {
    domain,
    fileName: options.fileName,
    faults: new FaultList(),
    caps: found.capabilities,
    host,
    config: withHugePages(options.config, domain),
    layout: options.layout,
    lookup: options.lookup,
    ...chance(),
  };
  completeDefinition(context);
  validateDefinition(context);
  context.faults.throwIfAny('domain XML', options.fileName);
  options.onMark?.('validated');
  return { context, notes };
}

/** Where huge pages are mounted is the host's to say, unless the configuration does. */
function withHugePages(config: QemuConfig, domain: Domain): QemuConfig {
  const isWanted = domain.memoryBacking?.hugepages !== undefined && config.hugetlbfsMounts.length === 0;
  return isWanted ? { ...config, hugetlbfsMounts: readHugetlbfsMounts({ only: config.hugetlbfsMount }) } : config;
}

/** What a planner may not look up itself: the time, and chance. */
export function chance(): Pick<DomainContext, 'hostClock' | 'randomBytes'> {
  const now = new Date();
  return {
    hostClock: { nowMs: now.getTime(), utcOffsetSeconds: -60 * now.getTimezoneOffset() },
    randomBytes: (count) => randomBytes(count),
  };
}

function readSource(source: string | Domain, fileName: string | undefined, notes: string[]): Domain {
  if (typeof source !== 'string') return cloneDefinition(source);
  const { domain, warnings } = parseDomain(source, fileName === undefined ? {} : { fileName });
  for (const warning of warnings) log.warn('parseDomain', () => warning);
  notes.push(...warnings);
  if (domain.type !== 'qemu' && domain.type !== 'kvm') {
    throw new VirtError(`domain type '${domain.type ?? ''}' is not one that QEMU runs: use type='kvm' or type='qemu'`, {
      code: ErrorCode.CONFIG_UNSUPPORTED,
    });
  }
  return domain;
}

/** The emulator for this host's own architecture. @throws VirtError naming the package */
export function defaultEmulator(): string {
  return findEmulator(undefined, hostArch());
}

/** The emulator named by a definition, else the one for its architecture. */
function findEmulator(given: string | undefined, arch: string, cache?: CapabilitiesCache): string {
  const name = given ?? `qemu-system-${qemuArch(arch)}`;
  const path = cache === undefined ? lookUpProgram(name) : cache.locate(name);
  if (path !== undefined) return path;
  const hint = given === undefined ? `install ${debianPackage(name)}` : 'correct <emulator>, or leave it out';
  throw new VirtError(`there is no emulator ${name}: ${hint}`, { code: ErrorCode.CONFIG_UNSUPPORTED });
}

function qemuArch(arch: string): string {
  if (arch === 'i686') return 'i386';
  if (arch === 'armv7l' || arch === 'armv6l') return 'arm';
  return arch === 'ppc64le' ? 'ppc64' : arch;
}

function debianPackage(emulator: string): string {
  if (/x86_64|i386/.test(emulator)) return 'qemu-system-x86';
  return /aarch64|arm/.test(emulator) ? 'qemu-system-arm' : 'qemu-system-misc';
}

function needsHelpers(domain: Domain): boolean {
  const { devices } = domain;
  return (
    (devices?.tpms ?? []).length > 0 ||
    (devices?.filesystems ?? []).some(({ driver }) => driver?.type === 'virtiofs') ||
    (devices?.interfaces ?? []).some(({ backend }) => backend?.type === 'passt')
  );
}

/** Settles `domain.type`: what the XML or the caller demands is demanded; only `auto` chooses, and says what. */
function settleAcceleration(domain: Domain, accel: PrepareOptions['accel'], host: HostFacts, notes: string[]): void {
  if (accel === undefined) {
    if (domain.type === 'kvm') requireKvm(host, "<domain type='kvm'>");
    return;
  }
  if (accel === 'kvm') requireKvm(host, '--accel kvm');
  const useKvm = accel === 'kvm' || (accel === 'auto' && host.kvm.usable);
  if (accel === 'auto' && !host.kvm.usable) notes.push(`running under TCG (emulation): ${kvmDetail(host)}`);
  if ((domain.type === 'kvm') !== useKvm && accel !== 'auto')
    notes.push(`running under ${useKvm ? 'KVM' : 'TCG'}, as asked, where the definition says type='${domain.type}'`);
  domain.type = useKvm ? 'kvm' : 'qemu';
  // The host's own CPU model exists under KVM only; the nearest under TCG is everything TCG can do.
  if (!useKvm && domain.cpu?.mode === 'host-passthrough') domain.cpu.mode = 'maximum';
}

function requireKvm(host: HostFacts, demander: string): void {
  if (host.kvm.usable) return;
  throw new VirtError(
    `${demander} needs KVM, which is not usable here: ${kvmDetail(host)}; use type='qemu' or --accel tcg (slower), or --accel auto`,
    { code: ErrorCode.CONFIG_UNSUPPORTED },
  );
}

function kvmDetail({ kvm }: HostFacts): string {
  return kvm.usable ? '' : `${kvm.reason}: ${kvm.detail}`;
}
