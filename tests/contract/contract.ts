/**
 * The driver contract as tests: what every connection with guests must do, whatever is behind it (this process, our daemon,
 * libvirtd). Each difference of one of them is a skip with its reason. Guests are boot sectors, or
 * containers.
 */
import { describe, expect, it } from 'vitest';
import type { Connection } from '../../src/index.ts';
import { describeDomains } from './domains.ts';
import { describeHost } from './host.ts';
import { describeChanges } from './live.ts';
import { BOOT_SECTORS, type ContractTest, type GuestKind, useSetting } from './setting.ts';

export interface ContractSubject {
  readonly name: string;
  /** Called once; the suite closes what it returns. */
  readonly open: () => Promise<Connection>;
  /** Default: boot sectors. */
  readonly guests?: GuestKind;
  /** Tests that this subject cannot pass, by title, with the reason. */
  readonly skips?: Readonly<Record<string, string>>;
}

/** For a subject at the other end of libvirt's protocol. */
export const REMOTE_SKIPS: Readonly<Record<string, string>> = {
  'warns of a MAC address that two domains have':
    "libvirt's protocol has no such event; the daemon's log and virsh dommessages tell",
};

export function describeContract({ name, open, guests = BOOT_SECTORS, skips = {} }: ContractSubject): void {
  const used = new Set<string>();

  describe(`contract: ${name}`, () => {
    const setting = useSetting(open, guests);
    const contract: ContractTest = (title, body) => {
      const reason = skips[title];
      if (reason !== undefined) used.add(title);
      it.skipIf(reason !== undefined)(
        reason === undefined ? title : `${title} [${reason}]`,
        async () => await body(setting()),
      );
    };
    describeDomains(contract);
    describeChanges(contract);
    describeHost(contract);

    it('skips only what there is', () => {
      expect(Object.keys(skips).filter((title) => !used.has(title))).toEqual([]);
    });
  });
}
