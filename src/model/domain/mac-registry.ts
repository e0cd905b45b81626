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
}

export class MacRegistry {
  /** By MAC address, by UUID. */
  readonly #owners = new Map<string, Map<string, MacOwner>>();
  readonly #cards = new Map<string, readonly string[]>();

  /** A domain has these addresses from now on, and no others. */
  note(owner: MacOwner, macs: readonly string[]): void {
    this.forget(owner.uuid);
    const own = [...new Set(macs.map((mac) => mac.toLowerCase()))];
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

  /** Addresses of a domain that others have too. */
  clashesOf(uuid: string): MacClash[] {
    return (this.#cards.get(uuid) ?? []).flatMap((mac) => {
      const others = [...(this.#owners.get(mac)?.values() ?? [])].filter((owner) => owner.uuid !== uuid);
      return others.length === 0 ? [] : [{ mac, others: others.map(({ name }) => name).toSorted() }];
    });
  }
}

/** Those of its cards that are told; others are made up when they are needed, and never twice the same. */
export function macsOf({ devices }: Domain): string[] {
  return (devices?.interfaces ?? []).flatMap(({ mac }) => mac?.address ?? []);
}

/** `MAC address 52:54:00:00:00:01 is domain 'b''s too: …`. */
export function describeClash({ mac, others }: MacClash): string {
  const names = others.map((name) => `'${name}'`).join(', ');
  return `MAC address ${mac} is also that of ${others.length === 1 ? 'domain' : 'domains'} ${names}: on one network they take each other's packets; give one of them another`;
}
