/** The computer itself: what its firmware says of maker, product and BIOS. */
import { join } from 'node:path';
import { listNames } from '../../core/list-names.ts';
import type { NodeDeviceDetails } from '../../model/node-device.ts';
import { cleanText, readText } from './sys-device.ts';

const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Machines without SMBIOS (not PCs, micro VMs) have neither names nor a UUID. */
export function describeSystem({ sys, machineId }: { sys: string; machineId: string }): NodeDeviceDetails {
  const folder = [join(sys, 'devices/virtual/dmi/id'), join(sys, 'class/dmi/id')].find(
    (dir) => listNames(dir).length > 0,
  );
  const read = (name: string): string | undefined =>
    folder === undefined ? undefined : cleanText(readText(join(folder, name)));
  return {
    type: 'system',
    product: read('product_name'),
    hardware: {
      vendor: read('sys_vendor'),
      version: read('product_version'),
      serial: read('product_serial'),
      uuid: folder === undefined ? NO_UUID : (uuidOf(read('product_uuid')) ?? uuidOf(readText(machineId)) ?? NO_UUID),
    },
    firmware: { vendor: read('bios_vendor'), version: read('bios_version'), release_date: read('bios_date') },
  };
}

/** A UUID that tells hosts apart: makers leave all digits the same. */
function uuidOf(text: string | undefined): string | undefined {
  const digits = text?.trim().replaceAll('-', '').toLowerCase() ?? '';
  if (!/^[0-9a-f]{32}$/.test(digits) || /^(.)\1*$/.test(digits)) return undefined;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
