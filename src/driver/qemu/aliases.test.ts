import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../tests/support/plan-context.ts';
import { assignAliases } from './aliases.ts';

const NIC = (alias = '') => `<interface type='user'><model type='virtio'/>${alias}</interface>`;

describe('aliases', () => {
  it('count within each kind, keep the user’s and replace foreign ones', () => {
    const alias = (name: string) => `<alias name='${name}'/>`;
    const context = planContext(domainXml(`<devices>${NIC()}${NIC(alias('ua-mine'))}${NIC(alias('net7'))}</devices>`));
    assignAliases(context);
    expect(context.domain.devices?.interfaces.map((device) => device.alias?.name)).toEqual(['net0', 'ua-mine', 'net1']);
    expect(faultsOf(context)).toEqual([]);
  });

  it('are refused when two devices have the same', () => {
    const twice = NIC("<alias name='ua-x'/>").repeat(2);
    const context = planContext(domainXml(`<devices>${twice}</devices>`));
    assignAliases(context);
    expect(faultsOf(context)).toEqual([expect.stringContaining("'ua-x'")]);
  });
});
