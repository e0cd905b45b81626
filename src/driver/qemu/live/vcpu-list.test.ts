import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { noteVcpus, setVcpuCount, switchVcpus } from './vcpu-list.ts';

function domain(vcpu: string): Domain {
  return parseDomain(`<domain type='qemu'><name>v</name>${vcpu}</domain>`).domain;
}

function listed({ vcpus }: Domain): string {
  return (vcpus?.vcpus ?? [])
    .map(({ id, enabled, hotpluggable }) => `${id}${enabled ? '+' : '-'}${hotpluggable === true ? 'h' : ''}`)
    .join(' ');
}

describe('virtual CPUs of a definition', () => {
  it('need no list to be counted', () => {
    const four = domain('<vcpu>4</vcpu>');
    setVcpuCount(four, 2);
    expect(four.vcpu).toMatchObject({ value: 4, current: 2 });
    expect(four.vcpus).toBeUndefined();
    setVcpuCount(four, 4);
    expect(four.vcpu?.current).toBeUndefined();
    expect(() => setVcpuCount(four, 5)).toThrow('5 > 4');
  });

  it('are listed once single ones are switched, and the number follows', () => {
    const four = domain("<vcpu current='2'>4</vcpu>");
    switchVcpus(four, [3], true);
    expect(listed(four)).toBe('0+ 1+ 2-h 3+h');
    expect(four.vcpu?.current).toBe(3);
    setVcpuCount(four, 1);
    expect(listed(four)).toBe('0+ 1-h 2-h 3-h');
    setVcpuCount(four, 2, { hotpluggable: true });
    expect(listed(four)).toBe('0+ 1+h 2-h 3-h');
  });

  it('keep the first one, and only those that there are', () => {
    const two = domain('<vcpu>2</vcpu>');
    expect(() => switchVcpus(two, [0], false)).toThrow("vCPU '0' can't be modified");
    expect(() => switchVcpus(two, [2], true)).toThrow('vcpu 2 is not present');
    expect(two.vcpus).toBeUndefined();
  });

  it('always are as many as the number says', () => {
    const step = fc.oneof(
      fc.record({ count: fc.integer({ min: 1, max: 6 }), hotpluggable: fc.boolean() }),
      fc.record({ ids: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), enabled: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        const six = domain('<vcpu>6</vcpu>');
        for (const one of steps) {
          if ('count' in one) setVcpuCount(six, one.count, one);
          else switchVcpus(six, one.ids, one.enabled);
        }
        const count = six.vcpu?.current ?? 6;
        if (six.vcpus !== undefined) {
          expect(six.vcpus.vcpus.filter(({ enabled }) => enabled)).toHaveLength(count);
          expect(six.vcpus.vcpus[0]?.enabled).toBe(true);
        }
        noteVcpus(six, [0, 1]);
        expect(six.vcpu?.current).toBe(2);
      }),
      { numRuns: 200 },
    );
  });
});
