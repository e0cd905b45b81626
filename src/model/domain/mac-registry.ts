/**
 * Which domains have which MAC addresses, whatever driver they are of: two cards with one address on one wire take each other's packets, and get
 * the same IP address from DHCP. It tells of clashes and refuses nothing, as cards of networks that never meet may have the same.
 */
import type { Domain } from './domain.ts';

/** Whose cards they are. */
export interface MacOwner {
  readonly name: string;
  readonly uuid: string;
}

export interface MacClash {
  readonly mac: string;
  /** Names of the other domains that have it. */
  readonly others: readonly string[];
  /** Two cards of the domain itself have it. */
  readonly isTwice: boolean;
}

export class MacRegistry {
  /** By MAC address, by UUID. */
  readonly #owners = new Map<string, Map<string, MacOwner>>();
  /** By UUID; an address as often as the domain has it. */
  readonly #cards = new Map<string, readonly string[]>();

  /** A domain has these addresses from now on, and no others. */
  note(owner: MacOwner, macs: readonly string[]): void {
    this.forget(owner.uuid);
    const own = macs.map((mac) => mac.toLowerCase());
    if (own.length === 0) return;
    this.#cards.set(owner.uuid, own);
    for (const mac of own) {
      const owners = this.#owners.get(mac) ?? new Map<string, MacOwner>();
      owners.set(owner.uuid, { name: owner.name, uuid: owner.uuid });
      this.#owners.set(mac, owners);
    }
  }

  forget(uuid: string): void {
    for (const mac of this.#cards.get(uuid) ?? []) {
      const owners = this.#owners.get(mac);
      owners?.delete(uuid);
      if (owners?.size === 0) this.#owners.delete(mac);
    }
    this.#cards.delete(uuid);
  }

  /** Addresses of a domain that others have too, or that it has more than once. */
  clashesOf(uuid: string): MacClash[] {
    const own = this.#cards.get(uuid) ?? [];
    return [...new Set(own)].flatMap((mac) => {
      const others = [...(this.#owners.get(mac)?.values() ?? [])].filter((owner) => owner.uuid !== uuid);
      const isTwice = own.indexOf(mac) !== own.lastIndexOf(mac);
      return others.length === 0 && !isTwice
        ? []
        : [{ mac, others: others.map(({ name }) => name).toSorted(), isTwice }];
    });
  }
}

/** Those of its cards that are told; others are made up when they are needed, and never twice the same. */
export function macsOf({ devices }: Domain): string[] {
  return (devices?.interfaces ?? []).flatMap(({ mac }) => mac?.address ?? []);
}

/** `MAC address 52:54:00:00:00:01 is also that of domain 'b': …`. */
export function describeClash({ mac, others, isTwice }: MacClash): string {
  const names = others.map((name) => `'${name}'`).join(', ');
  const whose = [
    ...(isTwice ? ['that of two of its cards'] : []),
    ...(others.length === 0 ? [] : [`also that of ${others.length === 1 ? 'domain' : 'domains'} ${names}`]),
  ];
  return `MAC address ${mac} is ${whose.join(', and ')}: on one network they take each other's packets; give one of them another`;
}
