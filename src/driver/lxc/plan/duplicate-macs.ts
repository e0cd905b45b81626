/** Which containers have an interface's MAC address in common: on one bridge they would take each other's frames. Pure. */
import type { Domain } from '../../../model/domain/domain.ts';

/** One line for each address of `domain` that another of them has, or that it has twice itself. */
export function duplicateMacs(domain: Domain, others: Iterable<Domain>): string[] {
  const own = macsOf(domain);
  const twice = own.filter((mac, index) => own.indexOf(mac) !== index);
  const notes = [...new Set(twice)].map(
    (mac) => `container '${domain.name ?? ''}' has the MAC address ${mac} twice: give each interface its own`,
  );
  for (const other of others) {
    if (other.uuid === domain.uuid) continue;
    const theirs = new Set(macsOf(other));
    for (const mac of new Set(own)) {
      if (!theirs.has(mac)) continue;
      notes.push(
        `containers '${other.name ?? ''}' and '${domain.name ?? ''}' have the same MAC address ${mac}: on one bridge neither is reached reliably; ` +
          `remove <mac> from one of them (virsh edit ${domain.name ?? ''})`,
      );
    }
  }
  return notes;
}

function macsOf({ devices }: Domain): string[] {
  return (devices?.interfaces ?? []).flatMap(({ mac }) => (mac === undefined ? [] : [mac.address.toLowerCase()]));
}
