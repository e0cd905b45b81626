/**
 * Devices that a guest gets without asking, because the machine has them or libvirt always adds them: root bus, USB
 * and SATA controllers, PS/2 input, memory balloon, chipset watchdog, primary video. Their own defaults are filled in
 * by their families afterwards; controllers that other devices need come in `controllers.ts`.
 */

import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { hasDevice, hasProperty, type QemuCapabilities } from '../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../context.ts';
import { archOf, isI440fx, isMicrovm, isQ35, isVirtBoard, isX86, machineOf } from '../machine.ts';
import { addMissingController, addUsbControllers, type ControllerModel, findController } from './controller-list.ts';

/** What a machine brings along. */
interface MachineDevices {
  /** Model of the PCI controller with index 0. */
  readonly root?: 'pci-root' | 'pcie-root';
  /** `default`: the one that the controller family chooses; undefined: none. */
  readonly usb?: ControllerModel | 'default';
  readonly sata?: boolean;
  readonly balloon?: boolean;
  readonly itcoWatchdog?: boolean;
  readonly usbInput?: boolean;
  readonly panic?: 'pseries' | 's390';
}

/** Adds what the machine has and the definition does not name. Runs before the families' defaults. */
export function addDefaultDevices(context: DomainContext): void {
  const { domain, caps } = context;
  const machine = machineDevices(domain, caps);
  if (isX86(domain) && !isMicrovm(domain)) addPs2Input(domain);
  if (machine.usb !== undefined && findController(domain, 'usb', 0) === undefined) {
    addUsbControllers(domain, 0, machine.usb === 'default' ? undefined : machine.usb);
  }
  if (machine.sata === true) addMissingController(domain, 'sata', 0);
  if (machine.root !== undefined) addRoot(context, machine.root);
  const devices = devicesOf(domain);
  if (machine.balloon === true) devices.memballoon ??= { model: 'virtio' };
  if (machine.usbInput === true && devices.graphics.length > 0) {
    addInput(domain, 'keyboard', 'usb');
    addInput(domain, 'mouse', 'usb');
  }
  if (
    machine.panic !== undefined &&
    !devices.panics.some(({ model }) => model === undefined || model === machine.panic)
  ) {
    devices.panics.push({ model: machine.panic });
  }
  if (machine.itcoWatchdog === true && hasProperty(caps, 'ICH9-LPC', 'noreboot')) addItcoWatchdog(domain);
}

/** Adds a video card to a guest that has graphics and none; its model is the video family's choice. */
export function addDefaultVideo(context: DomainContext): void {
  const devices = devicesOf(context.domain);
  if (devices.videos.length === 0 && devices.graphics.length > 0) devices.videos.push({ model: {} });
}

function machineDevices(domain: Domain, caps: QemuCapabilities): MachineDevices {
  const machine = machineOf(domain);
  switch (archOf(domain)) {
    case 'i686':
    case 'x86_64':
      return x86Devices(domain, caps);
    case 'armv6l':
      return machine === 'versatilepb' ? { root: 'pci-root' } : {};
    case 'armv7l':
    case 'aarch64':
      return isVirtBoard(domain) && hasDevice(caps, 'gpex-pcihost') ? { root: 'pcie-root' } : {};
    case 'riscv32':
    case 'riscv64':
      return isVirtBoard(domain) && hasDevice(caps, 'gpex-pcihost')
        ? { root: 'pcie-root', balloon: true }
        : { balloon: true };
    case 'loongarch64':
      return isVirtBoard(domain) ? { root: 'pcie-root', balloon: true, usb: xhciModel(caps) } : { balloon: true };
    case 'ppc64':
    case 'ppc64le':
      return {
        root: 'pci-root',
        usb: 'default',
        balloon: true,
        usbInput: true,
        ...(machine.startsWith('pseries') && { panic: 'pseries' }),
      };
    case 's390x':
      return { balloon: true, panic: 's390' };
    case 'sparc':
      return { balloon: true };
    default:
      return { root: 'pci-root', usb: 'default', balloon: true };
  }
}

function x86Devices(domain: Domain, caps: QemuCapabilities): MachineDevices {
  if (machineOf(domain) === 'isapc') return { balloon: true };
  // A microvm has what its definition names and nothing else: that is its point.
  if (isMicrovm(domain)) return {};
  if (isQ35(domain)) {
    const usb = xhciModel(caps) ?? (hasDevice(caps, 'ich9-usb-ehci1') ? 'ich9-ehci1' : undefined);
    return { root: 'pcie-root', usb, sata: true, balloon: true, itcoWatchdog: true };
  }
  return isI440fx(domain) ? { root: 'pci-root', usb: 'default', balloon: true } : { usb: 'default', balloon: true };
}

function xhciModel(caps: QemuCapabilities): ControllerModel {
  if (hasDevice(caps, 'qemu-xhci')) return 'qemu-xhci';
  return hasDevice(caps, 'nec-usb-xhci') ? 'nec-xhci' : undefined;
}

function addRoot(context: DomainContext, model: 'pci-root' | 'pcie-root'): void {
  const present = findController(context.domain, 'pci', 0);
  if (present === undefined) addMissingController(context.domain, 'pci', 0, model);
  else if (present.model !== model) {
    fault(
      context,
      present,
      `the PCI controller with index 0 must be '${model}' on this machine type, not '${present.model ?? ''}'`,
      '@model',
    );
  }
}

function addPs2Input(domain: Domain): void {
  if (domain.features?.ps2?.state === false) return;
  addInput(domain, 'mouse', 'ps2');
  addInput(domain, 'keyboard', 'ps2');
}

function addInput(domain: Domain, type: 'mouse' | 'keyboard', bus: 'ps2' | 'usb'): void {
  const { inputs } = devicesOf(domain);
  if (!inputs.some((input) => input.type === type && (input.bus ?? 'ps2') === bus)) inputs.push({ type, bus });
}

function addItcoWatchdog(domain: Domain): void {
  const { watchdogs } = devicesOf(domain);
  if (watchdogs.some(({ model }) => model === 'itco')) return;
  // All watchdogs of a guest share one action.
  watchdogs.push({ model: 'itco', action: watchdogs[0]?.action ?? 'reset' });
}
