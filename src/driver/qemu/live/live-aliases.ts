/** Aliases of devices that join a running guest: those that are there keep theirs. */
import type { DomainContext } from '../context.ts';
import { FAMILIES } from '../devices/families.ts';

/** Gives every device without an alias the first of its kind's that nobody has. */
export function nameNewDevices(context: DomainContext): void {
  for (const family of FAMILIES) {
    const devices = family.select(context.domain);
    const taken = new Set(devices.map(({ alias }) => alias?.name));
    for (const [position, device] of devices.entries()) {
      if (device.alias?.name !== undefined) continue;
      device.alias = { name: freeAlias((index) => family.alias(device, index, context), position, taken) };
      taken.add(device.alias.name);
    }
  }
}

/** Kinds whose alias follows from a place of theirs give the same name for every number. */
function freeAlias(
  nameOf: (index: number) => string,
  position: number,
  taken: ReadonlySet<string | undefined>,
): string {
  const own = nameOf(position);
  if (!taken.has(own)) return own;
  for (let index = 0; index <= taken.size; index++) {
    const name = nameOf(index);
    if (!taken.has(name)) return name;
  }
  return own;
}
