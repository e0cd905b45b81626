/** State and speed of a network interface, from its attributes in sysfs. */

export interface NetLink {
  /** Mbit/s, of an interface that is up. Drivers that do not know it say -1, which libvirt takes for an unsigned number. */
  readonly speed?: number | undefined;
  /** The kernel's word: `up`, `down`, `unknown`, `lowerlayerdown`, …. */
  readonly state: string;
}

/** `attribute`: reads one; undefined where there is none. */
export function netLinkOf(attribute: (name: string) => string | undefined): NetLink {
  const state = attribute('operstate') ?? 'unknown';
  const speed = state === 'up' ? Number(attribute('speed') ?? 0) : 0;
  return { speed: Number.isInteger(speed) && speed !== 0 ? speed >>> 0 : undefined, state };
}
