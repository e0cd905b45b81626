/** The dnsmasq configuration that we write for a network is that of libvirt, byte for byte. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { planDnsmasq } from '../../src/driver/network/dnsmasq-config.ts';
import { type BridgedNetwork, parseNetwork } from '../../src/model/network/network.ts';

const DIR = join(process.env['NESTLING_REFEREE'] ?? '../shared/referee', 'network-conf');
const cases = existsSync(DIR) ? readdirSync(DIR).filter((name) => name.endsWith('.conf')) : [];

describe.skipIf(cases.length === 0)('dnsmasq configurations', () => {
  it.each(cases)('%s', (file) => {
    const name = file.slice(0, -'.conf'.length);
    const read = (suffix: string): string | undefined => {
      const path = join(DIR, `${name}.${suffix}`);
      return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    };
    const network = parseNetwork(read('xml') ?? '') as BridgedNetwork;
    const base = `/var/lib/libvirt/dnsmasq/${network.name}`;
    const plan = planDnsmasq(network, { hostsFile: `${base}.hostsfile`, addnHostsFile: `${base}.addnhosts` });
    expect(plan.conf).toBe(read('conf'));
    expect(plan.hosts).toBe(read('hostsfile') ?? '');
  });
});
