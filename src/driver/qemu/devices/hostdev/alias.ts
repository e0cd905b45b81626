/** Names of host devices: interfaces that are host devices count along, explicit aliases do not. */
import type { Domain } from '../../../../model/domain/domain.ts';

/** The next free `hostdevN`. */
export function nextHostdevAlias(domain: Domain): string {
  const devices = [...(domain.devices?.interfaces ?? []), ...(domain.devices?.hostdevs ?? [])];
  return nextAlias('hostdev', devices);
}

/** PREFIX and one more than the highest number that a device of the list has behind it. */
export function nextAlias(prefix: string, devices: readonly { alias?: { name: string } | undefined }[]): string {
  let highest = -1;
  for (const { alias } of devices) {
    const digits = alias?.name.startsWith(prefix) ? alias.name.slice(prefix.length) : '';
    if (/^\d+$/.test(digits)) highest = Math.max(highest, Number(digits));
  }
  return `${prefix}${highest + 1}`;
}
