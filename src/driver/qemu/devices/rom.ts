/** `<rom>` of a PCI device: its option ROM in the guest. */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { type DomainContext, fault } from '../context.ts';
import type { Props } from '../plan/props.ts';

/** `rombar` and `romfile`; an empty file name is how QEMU is told to have no ROM. */
export function romProps({ rom }: DeviceInfo): Props {
  if (rom === undefined) return {};
  if (rom.enabled === false) return { romfile: '' };
  return { rombar: rom.bar === undefined ? undefined : Number(rom.bar), romfile: rom.file };
}

/** Refuses ROM settings of a device that is not on PCI, and settings of a ROM that is switched off. */
export function validateRom(device: DeviceInfo, context: DomainContext): void {
  const { rom, address } = device;
  if (rom?.enabled === undefined && rom?.bar === undefined && rom?.file === undefined) return;
  if (address !== undefined && address.type !== 'pci' && address.type !== 'unassigned') {
    fault(context, device, `a device with a ${address.type} address has no option ROM; leave <rom> out`, 'rom');
  }
  if (rom.enabled === false && (rom.bar !== undefined || rom.file !== undefined)) {
    fault(context, device, "rom enabled='no' goes without 'bar' and 'file'", 'rom');
  }
}
