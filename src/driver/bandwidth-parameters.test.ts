import { describe, expect, it } from 'vitest';
import { ErrorCode, ErrorDomain } from '../core/errors.ts';
import { bandwidthParametersOf, changeBandwidth } from './bandwidth-parameters.ts';

const change = (before: Parameters<typeof changeBandwidth>[0], parameters: Record<string, number>) =>
  changeBandwidth(before, parameters, ErrorDomain.NETWORK);

describe('bandwidth as parameters', () => {
  it('tells the limits that are there, or all of them', () => {
    expect(bandwidthParametersOf({ inbound: { average: 5, floor: 2 } })).toEqual({
      'inbound.average': 5,
      'inbound.peak': 0,
      'inbound.floor': 2,
      'inbound.burst': 0,
    });
    expect(bandwidthParametersOf(undefined)).toEqual({});
    expect(Object.keys(bandwidthParametersOf(undefined, { all: true }))).toHaveLength(7);
  });

  it('changes what is named, and lifts a direction without average and share', () => {
    const before = { inbound: { average: 5, peak: 9 }, outbound: { average: 7 } };
    expect(change(before, { 'inbound.average': 6, 'outbound.average': 0 })).toEqual({
      inbound: { average: 6, peak: 9 },
    });
    expect(change({}, { 'inbound.floor': 3 })).toEqual({ inbound: { floor: 3 } });
    expect(before.inbound.average).toBe(5);
  });

  it.each([{ 'outbound.floor': 1 }, { 'inbound.other': 1 }, { 'inbound.average': -1 }])('refuses %o', (parameters) => {
    expect(() => change(undefined, parameters)).toThrow(
      expect.objectContaining({ code: ErrorCode.INVALID_ARG, domain: ErrorDomain.NETWORK }),
    );
  });
});
