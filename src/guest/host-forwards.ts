/** Forwards of user-mode networks (QEMU's own, slirp4netns): one rule per port, as they have no ranges. Pure. */
import type { PortForward } from '../model/domain/devices/interface.ts';

/** A port of the host that leads to one of the guest. */
export interface HostForward {
  readonly proto: string;
  /** Of the host; undefined: all of them. */
  readonly address: string | undefined;
  readonly port: number;
  readonly guestPort: number;
  /** `tcp:127.0.0.1:2222`: what tells it from others, and removes it. */
  readonly from: string;
  /** `tcp:127.0.0.1:2222-:22`: the whole rule. */
  readonly rule: string;
}

export function hostForwards({ proto, address, ranges }: PortForward): HostForward[] {
  const excluded = new Set(ranges.filter(({ exclude }) => exclude === true).flatMap((range) => portsOf(range)));
  return ranges
    .filter(({ exclude }) => exclude !== true)
    .flatMap((range) => {
      const shift = (range.to ?? range.start) - range.start;
      return portsOf(range).map((port) => ({ port, guestPort: port + shift }));
    })
    .filter(({ port }) => !excluded.has(port))
    .map(({ port, guestPort }) => {
      const from = `${proto}:${address ?? ''}:${port}`;
      return { proto, address, port, guestPort, from, rule: `${from}-:${guestPort}` };
    });
}

/** What is to be taken away, then added, to come from some forwards to others. */
export function changeOfForwards(
  before: readonly PortForward[],
  after: readonly PortForward[],
): { readonly removed: readonly HostForward[]; readonly added: readonly HostForward[] } {
  const old = before.flatMap(hostForwards);
  const wanted = after.flatMap(hostForwards);
  const lacks = (list: readonly HostForward[]) => (forward: HostForward) =>
    !list.some(({ rule }) => rule === forward.rule);
  return { removed: old.filter(lacks(wanted)), added: wanted.filter(lacks(old)) };
}

function portsOf({ start, end = start }: PortForward['ranges'][number]): number[] {
  return Array.from({ length: Math.max(0, end - start + 1) }, (_, index) => start + index);
}
