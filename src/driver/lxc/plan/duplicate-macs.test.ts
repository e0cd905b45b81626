import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { duplicateMacs } from './duplicate-macs.ts';

function container(name: string, ...macs: string[]): Domain {
  const interfaces = macs.map((mac) => `<interface type='ethernet'><mac address='${mac}'/></interface>`).join('');
  const { domain } = parseDomain(
    `<domain type='lxc'><name>${name}</name><memory>1</memory><os><type>exe</type></os><devices>${interfaces}</devices></domain>`,
  );
  domain.uuid = `00000000-0000-0000-0000-${name.padStart(12, '0')}`;
  return domain;
}

describe('duplicateMacs', () => {
  it('names both containers, whatever the case of the letters', () => {
    const found = duplicateMacs(container('b', '52:54:00:AA:BB:CC'), [
      container('a', '52:54:00:aa:bb:cc'),
      container('c', '52:54:00:aa:bb:cd'),
    ]);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^containers 'a' and 'b' have the same MAC address 52:54:00:aa:bb:cc:/);
  });

  it('sees two of one container, and not the one that is redefined', () => {
    expect(duplicateMacs(container('b', '52:54:00:aa:bb:cc', '52:54:00:aa:bb:cc'), [])).toEqual([
      expect.stringContaining('twice'),
    ]);
    expect(duplicateMacs(container('b', '52:54:00:aa:bb:cc'), [container('b', '52:54:00:aa:bb:cc')])).toEqual([]);
  });
});
