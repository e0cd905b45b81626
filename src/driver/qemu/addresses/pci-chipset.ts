/**
 * Fixed places: devices that the chipset has built in or that real machines have in a well-known slot. i440FX: IDE,
 * USB at slot 1, the primary video card at 2. Q35: SATA at 1f.2, USB 2 at 1d and 1a, the DMI bridge at 1e, HD audio
 * at 1b, the primary video card at 1.
 */
import type { DeviceInfo, PciAddress } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { type DomainContext, fault } from '../context.ts';
import { videoAddressNeed } from '../devices/video/addresses.ts';
import { isI440fx, isQ35 } from '../machine.ts';
import type { Connection, SlotUser } from './pci-bus.ts';
import { formatPciAddress } from './pci-bus.ts';
import type { PciBuses } from './pci-buses.ts';
import { connectionOf } from './pci-devices.ts';
import { hasPciAddress, setPciAddress, wantsPciAddress } from './pci-state.ts';

const CHIPSET: SlotUser = { describe: 'the chipset' };
const CONVENTIONAL: Connection = { connector: 'pci-endpoint', automatic: true };
const EXPRESS: Connection = { connector: 'pcie-endpoint', automatic: false };
const DMI_BRIDGE: Connection = { connector: 'dmi-to-pci-bridge', automatic: false };

/** Gives built-in devices their addresses and reserves the chipset's slots. Needed in both passes. */
export function placeChipsetDevices(context: DomainContext, buses: PciBuses): void {
  if (isI440fx(context.domain)) placeI440fx(context, buses);
  else if (isQ35(context.domain)) placeQ35(context, buses);
}

/** Built-in devices of the PIIX3, whose function is not reserved: its slot is the chipset's anyway. */
export function isPiix3Function(device: DeviceInfo & { type?: string; index?: number | undefined }): boolean {
  const { address } = device;
  if (address?.type !== 'pci' || (address.domain ?? 0) !== 0 || (address.bus ?? 0) !== 0 || address.slot !== 1)
    return false;
  const model = (device as { model?: string }).model;
  return (
    device.index === 0 &&
    ((device.type === 'ide' && address.function === 1) ||
      (device.type === 'usb' && model === 'piix3-uhci' && address.function === 2))
  );
}

function placeI440fx(context: DomainContext, buses: PciBuses): void {
  for (const controller of devicesOf(context.domain).controllers) {
    if (controller.index !== 0) continue;
    if (controller.type === 'ide') fixAddress(context, controller, 1, 1, 'the primary IDE controller');
    else if (controller.type === 'usb' && controller.model === 'piix3-uhci') {
      fixAddress(context, controller, 1, 2, 'the PIIX3 USB controller');
    }
  }
  // ISA bridge, IDE, USB, power management: there whether or not the definition names their controllers.
  for (const unit of [0, 1, 2, 3]) buses.reserve({ bus: 0, slot: 1, unit }, CONVENTIONAL, CHIPSET);
  placePrimaryVideo(context, buses, 2, CONVENTIONAL);
}

function placeQ35(context: DomainContext, buses: PciBuses): void {
  const { controllers, sounds } = devicesOf(context.domain);
  for (const controller of controllers) {
    if (controller.type === 'sata' && controller.index === 0) {
      fixAddress(context, controller, 0x1f, 2, 'the primary SATA controller');
    } else if (controller.type === 'usb' && controller.model === 'ich9-uhci1' && wantsPciAddress(controller)) {
      const slot = [0x1d, 0x1a].find((candidate) => !buses.isInUse(0, candidate));
      if (slot !== undefined) takeSlot(buses, controller, slot, EXPRESS, true);
    } else if (controller.model === 'dmi-to-pci-bridge' && wantsPciAddress(controller) && !buses.isInUse(0, 0x1e)) {
      takeSlot(buses, controller, 0x1e, DMI_BRIDGE);
    }
  }
  // LPC bridge and SMBus; SATA is function 2 of the same slot.
  for (const unit of [0, 3]) buses.reserve({ bus: 0, slot: 0x1f, unit }, EXPRESS, CHIPSET);
  placePrimaryVideo(context, buses, 1, EXPRESS);
  for (const sound of sounds) {
    if (sound.model === 'ich9' && wantsPciAddress(sound) && !buses.isInUse(0, 0x1b)) {
      takeSlot(buses, sound, 0x1b, EXPRESS);
    }
  }
}

/** A device that cannot be anywhere else. */
function fixAddress(context: DomainContext, device: DeviceInfo, slot: number, unit: number, what: string): void {
  if (!hasPciAddress(device)) {
    if (wantsPciAddress(device)) setPciAddress(device, { bus: 0, slot, unit });
    return;
  }
  const given = device.address as PciAddress;
  const expected = formatPciAddress({ slot, function: unit });
  if (formatPciAddress(given) !== expected) {
    fault(context, device, `${what} is at PCI address ${expected}: remove its address or change it`, 'address');
  }
}

function takeSlot(buses: PciBuses, device: DeviceInfo, slot: number, connection: Connection, shared = false): void {
  buses.reserve({ bus: 0, slot, unit: 0 }, connection, { describe: 'a device with a fixed place' });
  setPciAddress(device, { bus: 0, slot, unit: 0 }, shared ? true : undefined);
}

/** QEMU puts the first card where the firmware looks for it; a user may move it when that slot is taken. */
function placePrimaryVideo(context: DomainContext, buses: PciBuses, slot: number, connection: Connection): void {
  const [video] = devicesOf(context.domain).videos;
  const type = video?.model?.type;
  if (video === undefined || type === 'none' || type === 'ramfb' || !wantsPciAddress(video)) return;
  if (!buses.isInUse(0, slot)) {
    takeSlot(buses, video, slot, connection);
    return;
  }
  // In the counting pass the slot is only noted: the address is given in the second one.
  const own = connectionOf(videoAddressNeed(video), video, isQ35(context.domain));
  const place = buses.reserveNext(own ?? CONVENTIONAL, { describe: 'the primary video card' });
  if (!buses.growable) setPciAddress(video, place);
}
