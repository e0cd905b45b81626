import { expect, it } from 'vitest';
import { formatTimeline } from './timeline.ts';

it('sorts by time, counts from the beginning and from the line above, and aligns', () => {
  const text = formatTimeline([
    { name: 'started', ms: 31.04 },
    { name: 'running', ms: 120 },
    { name: 'first-guest-byte', ms: 99.96 },
    { name: 'something new', ms: 1120.5 },
  ]);
  expect(text.split('\n').slice(1)).toEqual([
    '  nestling started    31.0    +31.0',
    '  first guest byte   100.0    +68.9',
    '  guest running      120.0    +20.0',
    '  something new     1120.5  +1000.5',
  ]);
});

it('of nothing is only its title', () => {
  expect(formatTimeline([]).split('\n')).toHaveLength(1);
});
