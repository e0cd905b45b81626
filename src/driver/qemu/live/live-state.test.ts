import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { keepLiveState } from './live-state.ts';

const guest = (devices: string): Domain =>
  parseDomain(`<domain type='qemu'><devices>${devices}</devices></domain>`).domain;
const card = (source: string, rest = ''): string =>
  `<interface type='network'><source network='lab' ${source}/>${rest}<alias name='net0'/></interface>`;

describe('keepLiveState', () => {
  it('keeps the place that a card has in its network, and the host’s end', () => {
    const live = guest(card("portid='5d744f21-ba4a-4d6e-bdb2-30a35ff3207d' bridge='virbr3'", "<target dev='vnet7'/>"));
    const next = guest(card(''));
    keepLiveState(live, next);
    expect(next.devices?.interfaces[0]).toMatchObject({
      source: { network: 'lab', portid: '5d744f21-ba4a-4d6e-bdb2-30a35ff3207d', bridge: 'virbr3' },
      target: { dev: 'vnet7' },
    });
  });

  it('gives it to no card of another network, and to no new one', () => {
    const live = guest(card("portid='5d744f21-ba4a-4d6e-bdb2-30a35ff3207d' bridge='virbr3'"));
    const next = guest(card('').replace('lab', 'other') + card('').replace('net0', 'net1'));
    keepLiveState(live, next);
    expect(next.devices?.interfaces.map(({ source }) => source?.portid)).toEqual([undefined, undefined]);
  });
});
