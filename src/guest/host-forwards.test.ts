/** One rule per port, and what changes between two definitions. */
import { describe, expect, it } from 'vitest';
import type { PortForward } from '../model/domain/devices/interface.ts';
import { changeOfForwards, hostForwards } from './host-forwards.ts';

const ssh: PortForward = { proto: 'tcp', address: '127.0.0.1', ranges: [{ start: 2222, to: 22 }] };
const many: PortForward = {
  proto: 'udp',
  ranges: [
    { start: 80, end: 82, to: 8080 },
    { start: 81, exclude: true },
  ],
};

describe('forwards of user-mode networks', () => {
  it('are one rule per port, without those that are excluded', () => {
    expect(hostForwards(ssh)).toMatchObject([
      { port: 2222, guestPort: 22, from: 'tcp:127.0.0.1:2222', rule: 'tcp:127.0.0.1:2222-:22' },
    ]);
    expect(hostForwards(many).map(({ rule }) => rule)).toEqual(['udp::80-:8080', 'udp::82-:8082']);
  });

  it('change by what is new and what is gone; another guest port is both', () => {
    const rules = (before: PortForward[], after: PortForward[]): string[][] => {
      const { removed, added } = changeOfForwards(before, after);
      return [removed, added].map((list) => list.map(({ rule }) => rule));
    };
    expect(rules([ssh, many], [many, ssh])).toEqual([[], []]);
    expect(rules([ssh], [])).toEqual([['tcp:127.0.0.1:2222-:22'], []]);
    expect(rules([ssh], [{ ...ssh, ranges: [{ start: 2222, to: 23 }] }])).toEqual([
      ['tcp:127.0.0.1:2222-:22'],
      ['tcp:127.0.0.1:2222-:23'],
    ]);
  });
});
