/**
 * Completes a container's definition as libvirt does: what was left out gets libvirt's defaults, so that the definition that is kept says the same
 * whoever reads it. Chance comes from the caller. Pure but for the definition it changes.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { roundUp, unitBytes } from '../../../core/units.ts';
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { CAPABILITY_NAMES } from '../../../model/domain/features.ts';
import type { IdRange } from '../../../model/domain/idmap.ts';
import { EXTRA } from '../../../model/schema/schema.ts';
import { checkContainer, malformed } from './check-definition.ts';
import { type ContainerFacts, refuse } from './container-context.ts';
import { isKnownArchitecture } from './foreign.ts';

/** Of an interface without an address: libvirt's range for containers and virtual machines alike. */
const MAC_PREFIX = '00:16:3e';
const DEFAULT_INIT = '/sbin/init';
/** libvirt's controller. Nothing here starts it; a definition that goes to libvirtd needs it. */
export const LIBVIRT_CONTROLLER = '/usr/lib/libvirt/libvirt_lxc';

export interface CompletionInput {
  readonly hostArch: string;
  readonly uuid: () => string;
  readonly randomBytes: (count: number) => Uint8Array;
  /** What labels containers on this host; stands for the model that a `<seclabel>` leaves out. */
  readonly securityModel?: string | undefined;
}

/** @throws VirtError CONFIG_UNSUPPORTED, or XML_ERROR for what is no definition of a container */
export function completeContainer(domain: Domain, input: CompletionInput): void {
  if (domain.type !== 'lxc') refuse(`the definition is of type '${domain.type ?? ''}'; containers are of type 'lxc'`);
  if (domain.name === undefined) refuse('the definition has no <name>');
  domain.uuid ??= input.uuid();
  if (domain.memory === undefined || domain.memory.value === 0) {
    malformed('the definition has no <memory>: give it one (<memory unit="MiB">512</memory>)');
  }
  domain.currentMemory ??= domain.memory.value;
  domain.vcpu ??= { value: 1, placement: 'static' };
  domain.vcpu.placement ??= 'static';
  completeNuma(domain);
  completeOs(domain, input.hostArch);
  if (domain.idmap !== undefined) for (const ranges of [domain.idmap.uids, domain.idmap.gids]) ranges.sort(byStart);
  domain.clock ??= { offset: 'utc', timers: [] };
  domain.onPoweroff ??= 'destroy';
  domain.onReboot ??= 'restart';
  domain.onCrash ??= 'destroy';
  completeDevices(domain, input);
  completeCapabilities(domain);
  const { securityModel } = input;
  if (securityModel !== undefined) for (const label of domain.seclabels) label.model ??= securityModel;
  checkContainer(domain);
}

/** A policy that says nothing is not kept. */
function completeCapabilities({ features }: Domain): void {
  const capabilities = features?.capabilities;
  if (features === undefined || capabilities === undefined) return;
  capabilities.policy ??= 'default';
  const isNamed = CAPABILITY_NAMES.some((name) => capabilities[name] !== undefined);
  if (capabilities.policy === 'default' && !isNamed && !(EXTRA in capabilities)) delete features.capabilities;
}

/** CPUs that are to be placed by themselves take their memory along. */
function completeNuma(domain: Domain): void {
  const isPlaced = domain.vcpu?.placement === 'auto';
  if (isPlaced && domain.numatune === undefined) domain.numatune = { memory: { placement: 'auto' }, memnodes: [] };
  const memory = domain.numatune?.memory;
  if (memory !== undefined) memory.mode ??= 'strict';
}

function byStart(one: IdRange, other: IdRange): number {
  return one.start - other.start;
}

function completeOs(domain: Domain, hostArch: string): void {
  const { os } = domain;
  if (os?.type === undefined) malformed('the definition has no <os><type>exe</type></os>');
  if (os.type.value !== 'exe') {
    throw new VirtError(`invalid argument: <os><type> is '${os.type.value}'; containers have 'exe'`, {
      code: ErrorCode.INVALID_ARG,
      domain: ErrorDomain.DOMAIN,
    });
  }
  os.type.arch ??= hostArch;
  if (!isKnownArchitecture(os.type.arch, hostArch)) refuse(`<os><type arch='${os.type.arch}'> is no architecture`);
  os.init ??= DEFAULT_INIT;
}

function completeDevices({ devices }: Domain, { randomBytes }: CompletionInput): void {
  if (devices === undefined) return;
  devices.emulator ??= LIBVIRT_CONTROLLER;
  for (const filesystem of devices.filesystems) {
    filesystem.type ??= 'mount';
    filesystem.accessmode ??= 'passthrough';
    completeUsage(filesystem);
  }
  if (devices.consoles.length === 0) devices.consoles.push({ type: 'pty', sources: [] });
  for (const [port, console] of devices.consoles.entries()) {
    console.type ??= 'pty';
    console.target = { type: console.target?.type ?? 'lxc', port };
  }
  for (const device of devices.interfaces) {
    device.mac ??= { address: randomMac(randomBytes) };
    if (device.type === 'direct' && device.source !== undefined) device.source.mode ??= 'vepa';
  }
  for (const device of devices.hostdevs) {
    device.mode ??= 'subsystem';
    if (device.mode === 'subsystem') device.managed ??= false;
  }
}

/** The size of memory, however it was written. */
function completeUsage({ type, source }: Filesystem): void {
  if (type !== 'ram' || source?.usage === undefined) return;
  const { usage, units = 'KiB' } = source;
  const multiplier = unitBytes(units);
  if (multiplier === undefined)
    malformed(`<source usage='${usage}'>: there is no unit '${units}': use KiB, MiB or GiB`);
  Object.assign(source, { usage: Number(roundUp(BigInt(usage) * multiplier, 1024n)), units: 'KiB' });
}

function randomMac(randomBytes: (count: number) => Uint8Array): string {
  const tail = Array.from(randomBytes(3), (byte) => byte.toString(16).padStart(2, '0'));
  return [MAC_PREFIX, ...tail].join(':');
}

/** Names that libvirt gives devices of a running container. */
export function nameDevices({ devices }: Domain): void {
  if (devices === undefined) return;
  for (const [prefix, family] of [
    ['fs', devices.filesystems],
    ['net', devices.interfaces],
    ['console', devices.consoles],
    ['hostdev', devices.hostdevs],
  ] as const) {
    for (const [index, device] of family.entries()) device.alias ??= { name: `${prefix}${index}` };
  }
}

/** Whether a filesystem gives the container a root of its own. */
export function rootSource({ devices }: Domain): string | undefined {
  const root = devices?.filesystems.find(({ target }) => target?.dir === '/');
  return root?.source?.dir;
}

export type { ContainerFacts };
