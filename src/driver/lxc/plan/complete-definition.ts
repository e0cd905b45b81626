/**
 * Completes a container's definition as libvirt does: what was left out gets libvirt's defaults, so that the definition that is kept says the same
 * whoever reads it. Chance comes from the caller. Pure but for the definition it changes.
 */
import type { Domain } from '../../../model/domain/domain.ts';
import { type ContainerFacts, refuse } from './container-context.ts';

/** Of an interface without an address: libvirt's range for containers and virtual machines alike. */
const MAC_PREFIX = '00:16:3e';
const DEFAULT_INIT = '/sbin/init';
/** libvirt's controller. Nothing here starts it; a definition that goes to libvirtd needs it. */
export const LIBVIRT_CONTROLLER = '/usr/lib/libvirt/libvirt_lxc';

export interface CompletionInput {
  readonly hostArch: string;
  readonly uuid: () => string;
  readonly randomBytes: (count: number) => Uint8Array;
}

/** @throws VirtError CONFIG_UNSUPPORTED */
export function completeContainer(domain: Domain, input: CompletionInput): void {
  if (domain.type !== 'lxc') refuse(`the definition is of type '${domain.type ?? ''}'; containers are of type 'lxc'`);
  if (domain.name === undefined) refuse('the definition has no <name>');
  domain.uuid ??= input.uuid();
  if (domain.memory === undefined)
    refuse('the definition has no <memory>: give it one (<memory unit="MiB">512</memory>)');
  domain.currentMemory ??= domain.memory.value;
  domain.vcpu ??= { value: 1, placement: 'static' };
  domain.vcpu.placement ??= 'static';
  completeOs(domain, input.hostArch);
  domain.clock ??= { offset: 'utc', timers: [] };
  domain.onPoweroff ??= 'destroy';
  domain.onReboot ??= 'restart';
  domain.onCrash ??= 'destroy';
  completeDevices(domain, input);
}

function completeOs(domain: Domain, hostArch: string): void {
  const { os } = domain;
  if (os?.type === undefined) refuse('the definition has no <os><type>exe</type></os>');
  if (os.type.value !== 'exe') refuse(`<os><type> is '${os.type.value}'; containers have 'exe'`);
  os.type.arch ??= hostArch;
  os.init ??= DEFAULT_INIT;
}

function completeDevices({ devices }: Domain, { randomBytes }: CompletionInput): void {
  if (devices === undefined) return;
  devices.emulator ??= LIBVIRT_CONTROLLER;
  for (const filesystem of devices.filesystems) {
    filesystem.type ??= 'mount';
    filesystem.accessmode ??= 'passthrough';
  }
  if (devices.consoles.length === 0) devices.consoles.push({ type: 'pty', sources: [] });
  for (const [port, console] of devices.consoles.entries()) {
    console.type ??= 'pty';
    // A container has no serial ports that a console could be one of.
    const type = console.target?.type === undefined || console.target.type === 'serial' ? 'lxc' : console.target.type;
    console.target = { type, port };
  }
  for (const device of devices.interfaces) device.mac ??= { address: randomMac(randomBytes) };
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
