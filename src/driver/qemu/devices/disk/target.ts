/** Disk names (`vda`, `sdaa`, `hdc2`) and the numbers behind them, as libvirt counts. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';

const TARGET_NAME = /^(?:fd|hd|vd|sd|xvd|ubd)([a-z]+)(\d*)$/;

/** Index behind a disk name: `vda` 0, `vdz` 25, `vdaa` 26; -1 where the name is not one. A partition is ignored. */
export function diskNameToIndex(name: string): number {
  const letters = TARGET_NAME.exec(name)?.[1];
  if (letters === undefined) return -1;
  let index = 0;
  for (const letter of letters) index = index * 26 + (letter.charCodeAt(0) - 97) + 1;
  return Number.isSafeInteger(index) ? index - 1 : -1;
}

/** The disk name ends with a partition number. */
export function isPartitionName(name: string): boolean {
  return /^(?:fd|hd|vd|sd|xvd|ubd)[a-z]+\d+$/.test(name);
}

/**
 * Disks in the order in which libvirt keeps them: those of one bus together, sorted by name, each bus where its
 * first disk stands. The order decides the guest's PCI slots.
 */
export function sortDisks(disks: readonly Disk[]): Disk[] {
  const sorted: Disk[] = [];
  for (const disk of disks) {
    const index = diskNameToIndex(disk.target?.dev ?? '');
    const sameBus = (other: Disk) => other.target?.bus === disk.target?.bus;
    const next = sorted.findIndex((other) => sameBus(other) && diskNameToIndex(other.target?.dev ?? '') > index);
    const last = sorted.findLastIndex(sameBus);
    sorted.splice(next >= 0 ? next : last >= 0 ? last + 1 : sorted.length, 0, disk);
  }
  return sorted;
}
