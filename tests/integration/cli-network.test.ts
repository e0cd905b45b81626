/** `nestling network plan`: what it prints is what a shell can carry out, and what it refuses. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nestling } from './cli-session.ts';

const LAB = `<network xmlns:nestling='urn:nestling:network:1.0'>
  <name>lab</name>
  <forward mode='nat'><nat ipv6='yes'/></forward>
  <bridge name='vbr9'/>
  <bandwidth><inbound average='1000' peak='5000'/></bandwidth>
  <mac address='52:54:00:00:00:09'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.150.2' end='192.168.150.254'/>
      <host mac='52:54:00:00:00:07' name='web' ip='192.168.150.7'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='fd00:150::1' prefix='64'/>
  <nestling:portForward port='2222' guest='web' to='22'/>
  <nestling:portForward proto='udp' port='5353' guest='somebody'/>
</network>`;

let scratch: string;
let lab: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cli-network-'));
  lab = join(scratch, 'lab.xml');
  writeFileSync(lab, LAB);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function write(xml: string): string {
  const path = join(scratch, 'other.xml');
  writeFileSync(path, xml);
  return path;
}

const isRoot = spawnSync('unshare', ['-n', 'nft', 'list', 'ruleset']).status === 0;
if (!isRoot) process.stderr.write('SKIPPED: carrying a network plan out needs root and nft\n');

describe('nestling network plan', () => {
  it('prints bridge, firewall, bandwidth and dnsmasq, and what is not known yet', async () => {
    const { status, stdout, stderr } = await nestling(['network', 'plan', '--firewall', 'nft', lab]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const titles = stdout.split('\n').filter((line) => /^## (?!dnsmasq conf|or other)\w/.test(line));
    expect(titles).toEqual(['## bridge vbr9', '## firewall (nft)', '## bandwidth', '## dnsmasq']);
    expect(stdout).toContain(
      "# udp port 5353 is forwarded to port 5353 of 'somebody' once that guest has an address\n",
    );
    expect(stdout).toContain('tcp dport 2222 dnat to 192.168.150.7:22');
    expect(stdout).toContain('dhcp-host=52:54:00:00:00:07,192.168.150.7,web');
  });

  it.skipIf(!isRoot).each(['nft', 'iptables'])('is what a shell carries out: %s', async (firewall) => {
    const { stdout } = await nestling(['network', 'plan', '--firewall', firewall, lab]);
    // Without the server, and without the discipline that some kernels do not have.
    const script = stdout.slice(0, stdout.indexOf('## dnsmasq\n')).replace(/^tc .* sfq .*$/gm, '');
    const look = 'nft list ruleset; ip -br address show vbr9; tc class show dev vbr9';
    const {
      stdout: seen,
      stderr,
      status,
    } = spawnSync('unshare', ['-n', 'sh', '-e'], {
      input: `${script.replace(/2>\/dev\/null/g, '2>/dev/null || :')}\n${look}\n`,
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringMatching(/rror/) });
    for (const part of [
      /masquerade to :1024-65535/i,
      /192\.168\.150\.7:22/,
      /fd00:150::1\/64/,
      /class htb 1:2 parent 1:1/,
    ]) {
      expect(seen.replace(/masq ports: (\d+-\d+)/g, 'masquerade to :$1')).toMatch(part);
    }
  });

  it('is the same as JSON', async () => {
    const { stdout } = await nestling(['network', 'plan', '--json', '--firewall', 'iptables', lab]);
    expect(JSON.parse(stdout)).toMatchObject({
      network: 'lab',
      bridge: { name: 'vbr9' },
      firewall: { backend: 'iptables', routeLoopback: true },
      dnsmasq: expect.stringContaining('interface=vbr9'),
    });
  });

  it.each([
    [['network'], 2, /plan is missing/],
    [['network', 'plna', 'x'], 2, /there is no 'network plna'/],
    [['network', 'plan', '--firewall', 'pf', 'x'], 2, /--firewall takes nft or iptables, not 'pf'/],
    [['network', 'plan', '/none.xml'], 2, /cannot read \/none\.xml/],
  ])('%j: status %i', async (args, status, message) => {
    expect(await nestling(args)).toMatchObject({ status, stderr: expect.stringMatching(message) });
  });

  it('says why there is nothing to plan', async () => {
    const path = write("<network><name>x</name><forward mode='bridge'/><bridge name='br0'/></network>");
    expect(await nestling(['network', 'plan', path])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/forward mode 'bridge': guests are attached to devices of the host/),
    });
  });
});
