/**
 * The document of `virsh domcapabilities` (virConnectGetDomainCapabilities): what a guest may ask for with one emulator,
 * machine type and accelerator. Only the emulator that the query leads to is probed.
 */
import { accessSync, constants } from 'node:fs';
import { basename } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { hasIommu } from '../../../guest/host-description.ts';
import type { KvmVerdict } from '../../../host/accelerator.ts';
import { hostArch } from '../../../host/cpu.ts';
import { firmwareDirs, readFirmwareDescriptors } from '../../../host/firmware.ts';
import { readHostFacts } from '../../../host/host-facts.ts';
import { debianPackageOf } from '../../../process/debian-package.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { formatXml } from '../../../xml/format.ts';
import type { DomainCapabilitiesQuery } from '../../driver.ts';
import type { CapabilitiesCache } from './cache.ts';
import {
  type AcceleratorName,
  findDefaultMachine,
  findMachine,
  type QemuCapabilities,
  type QemuMachine,
} from './capabilities.ts';
import { findSystemEmulator, runsNatively } from './capabilities-xml.ts';
import { archOfTarget, findArch, sameFamily } from './capabilities-xml-arch.ts';
import { type DomainCapabilitiesInput, domainCapabilitiesElement } from './domain-capabilities-xml-document.ts';

export interface DomainCapabilitiesRequest extends DomainCapabilitiesQuery {
  readonly signal?: AbortSignal | undefined;
}

/** What the host answers; every default is the real host. */
export interface DomainCapabilitiesSources {
  /** libvirt's name of the host's architecture. */
  readonly hostArch?: string;
  /** Path of the emulator for a QEMU target. */
  readonly findEmulator?: (target: string) => string | undefined;
  readonly readKvm?: (emulator: string, signal: AbortSignal | undefined) => Promise<KvmVerdict>;
  readonly readHost?: () => DomainCapabilitiesInput['host'];
}

/** Domain types of libvirt that are not QEMU's. */
const OTHER_VIRTTYPES = new Set(
  'test xen lxc openvz vmware hyperv vbox phyp parallels bhyve vz kqemu uml hvf'.split(' '),
);

/**
 * The domain capabilities as XML text. Without a virttype: `kvm` where KVM runs guests, else `qemu`.
 * @throws VirtError for an unknown or missing emulator, architecture, machine type or virttype
 */
export async function formatDomainCapabilities(
  cache: CapabilitiesCache,
  request: DomainCapabilitiesRequest,
  sources: DomainCapabilitiesSources = {},
): Promise<string> {
  const readHost = sources.readHost ?? readDeviceHost;
  return formatXml(domainCapabilitiesElement({ ...(await resolveQuery(cache, request, sources)), host: readHost() }));
}

/** What a query leads to: an emulator's capabilities, and which part of them it is about. @throws VirtError */
export async function resolveQuery(
  cache: CapabilitiesCache,
  request: DomainCapabilitiesRequest,
  sources: DomainCapabilitiesSources = {},
): Promise<Omit<DomainCapabilitiesInput, 'host'>> {
  const { signal } = request;
  const host = sources.hostArch ?? archOfTarget(hostArch())?.name ?? hostArch();
  requireKnown(request);
  const emulator = findEmulator(request, host, sources.findEmulator ?? findSystemEmulator);
  const guess = request.arch ?? archOfEmulator(emulator) ?? host;
  const verdict = await judgeKvm(request, emulator, runsNatively(host, guess), sources);
  const accelerator: AcceleratorName = verdict.usable ? 'kvm' : 'tcg';
  const { capabilities } = await cache.get(emulator, accelerator, { signal });
  const arch = settleArch(request, capabilities);
  if (accelerator === 'kvm' && !runsNatively(host, arch)) {
    throw invalid(`Emulator '${emulator}' does not support virt type 'kvm': it runs ${arch} guests on a ${host} host`);
  }
  const machine = settleMachine(request, arch, capabilities, accelerator);
  return { capabilities, accelerator, arch, machine };
}

function requireKnown({ arch, virttype }: DomainCapabilitiesRequest): void {
  if (arch !== undefined && findArch(arch) === undefined) throw invalid(`unknown architecture: ${arch}`);
  if (virttype === undefined || virttype === 'kvm' || virttype === 'qemu') return;
  if (OTHER_VIRTTYPES.has(virttype))
    throw invalid(`QEMU does not support virt type '${virttype}': use 'kvm' or 'qemu'`);
  throw invalid(`unknown virttype: ${virttype}: use 'kvm' or 'qemu'`);
}

function findEmulator(
  { emulator, arch }: DomainCapabilitiesRequest,
  host: string,
  find: (target: string) => string | undefined,
): string {
  if (emulator !== undefined) {
    const path = lookUpProgram(emulator);
    if (path !== undefined) return path;
    throw invalid(`there is no emulator '${emulator}' that this user may run`);
  }
  const wanted = arch ?? host;
  const target = findArch(wanted)?.target ?? wanted;
  const path = find(target);
  if (path !== undefined) return path;
  const debianPackage = debianPackageOf(`qemu-system-${target}`);
  const fix = debianPackage === undefined ? `install qemu-system-${target}` : `install ${debianPackage}`;
  throw new VirtError(
    `unsupported configuration: unable to find any emulator to serve '${wanted}' architecture: ${fix}`,
    { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.QEMU },
  );
}

/** By the usual names only; what the binary says itself is compared later. */
function archOfEmulator(emulator: string): string | undefined {
  const target = /^qemu-system-(\w+)/.exec(basename(emulator))?.[1];
  return target === undefined ? undefined : archOfTarget(target)?.name;
}

/** @throws VirtError when KVM is demanded and not usable */
async function judgeKvm(
  { virttype, signal }: DomainCapabilitiesRequest,
  emulator: string,
  native: boolean,
  { readKvm = readHostKvm }: DomainCapabilitiesSources,
): Promise<{ readonly usable: boolean }> {
  if (virttype === 'qemu') return { usable: false };
  if (!native) {
    if (virttype === undefined) return { usable: false };
    throw invalid(`Emulator '${emulator}' does not support virt type 'kvm': KVM runs the host's architecture only`);
  }
  const verdict = await readKvm(emulator, signal);
  if (verdict.usable || virttype === undefined) return verdict;
  throw invalid(
    `Emulator '${emulator}' does not support virt type 'kvm' here: ${verdict.reason}: ${verdict.detail}; use virttype 'qemu'`,
  );
}

function settleArch({ arch }: DomainCapabilitiesRequest, { arch: target }: QemuCapabilities): string {
  const own = archOfTarget(target)?.name ?? target;
  if (arch === undefined || sameFamily(arch, own)) return arch ?? own;
  throw invalid(`architecture from emulator '${own}' doesn't match given architecture '${arch}'`);
}

function settleMachine(
  { machine }: DomainCapabilitiesRequest,
  arch: string,
  capabilities: QemuCapabilities,
  accelerator: AcceleratorName,
): QemuMachine {
  const name = machine ?? preferredMachine(arch, capabilities);
  const found = name === undefined ? undefined : findMachine(capabilities, name, accelerator);
  if (found !== undefined) return found;
  if (name === undefined) {
    throw invalid(`emulator '${capabilities.binary}' has no default machine type: name one (see its -machine help)`);
  }
  throw invalid(
    `the machine '${name}' is not supported by emulator '${capabilities.binary}' (its -machine help lists those that are)`,
  );
}

/** libvirt's defaults: boards that are made for guests, where there are such. */
function preferredMachine(arch: string, capabilities: QemuCapabilities): string | undefined {
  const preferred = /^(?:aarch64|armv|riscv|loongarch)/.test(arch)
    ? 'virt'
    : /^(?:x86_64|i686)$/.test(arch)
      ? 'pc'
      : '';
  return findMachine(capabilities, preferred)?.name ?? findDefaultMachine(capabilities)?.name;
}

async function readHostKvm(qemu: string, signal: AbortSignal | undefined): Promise<KvmVerdict> {
  return (await readHostFacts(['kvm'], { kvm: { qemu }, signal })).kvm;
}

function readDeviceHost(): DomainCapabilitiesInput['host'] {
  return {
    vfio: hasIommu() && canOpen('/dev/vfio/vfio'),
    swtpm: lookUpProgram('swtpm') !== undefined && lookUpProgram('swtpm_setup') !== undefined,
    passt: lookUpProgram('passt') !== undefined,
    firmware: readFirmwareDescriptors(firmwareDirs()).descriptors,
  };
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false; // the question itself, not a fault
  }
}

function invalid(message: string): VirtError {
  return new VirtError(`invalid argument: ${message}`, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}
