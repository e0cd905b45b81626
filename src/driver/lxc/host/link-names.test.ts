import { expect, it } from 'vitest';
import { LinkNames } from './link-names.ts';

const TABLE = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets
    lo: 3205684   25041    0    0    0     0          0         0  3205684   25041
 vnet0:       0       0    0    0    0     0          0         0        0       0
 vnet2:       0       0    0    0    0     0          0         0        0       0
`;

it('gives the lowest names that neither the host nor another container has', () => {
  let table = TABLE;
  const names = new LinkNames(() => table);
  expect([names.take('vnet'), names.take('vnet'), names.take('box')]).toEqual(['vnet1', 'vnet3', 'box0']);
  expect([names.has('vnet1'), names.has('vnet2'), names.has('lo')]).toEqual([false, true, true]);
  names.release('vnet1');
  expect(names.take('vnet')).toBe('vnet1');
  table = '';
  expect(names.take('vnet', 2)).toBe('vnet4');
});
