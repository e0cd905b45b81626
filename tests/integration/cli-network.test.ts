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
  scratch = mkdtempSync(join(tmpdir(), 'n-'));
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
    [['network'], 2, /plan or forward is missing/],
    [['network', 'forward'], 2, /list, add or remove is missing/],
    [['network', 'forward', 'add', 'lab', 'x', 'web'], 2, /a port of the host is/],
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

describe('nestling network forward', () => {
  it.skipIf(!isRoot)(
    'changes what a running network of a daemon forwards, and what it will',
    () => {
      const session = `
      ip link set lo up
      mkfifo log
      $nestling daemon --state-dir $PWD/s >log 2>&1 & daemon=$!
      exec 3<log
      read -r line <&3
      uri="qemu+unix:///system?socket=$PWD/s/run/libvirt-sock"
      forward() { $nestling network forward "$@" --connect "$uri" 2>&1 || echo "status $?"; }
      rules() { nft list ruleset | grep -o 'dport.*dnat to .*' | sort -u; }
      virsh -q -c "$uri" net-define lab.xml >&2; virsh -q -c "$uri" net-start lab >&2
      echo LIST; forward list lab
      forward add lab udp:5354 192.168.150.9:53
      echo AGAIN; forward add lab 2222 web
      forward remove lab udp:5353
      echo GONE; forward remove lab udp:5353
      echo RULES; rules
      echo LASTING; virsh -c "$uri" net-dumpxml lab --inactive | grep -o 'portForward .*'
      virsh -q -c "$uri" net-destroy lab >&2
      echo LEFT; nft list ruleset
      kill $daemon; wait $daemon || :`;
      const nestlingCommand = `${process.execPath} ${new URL('../../dist/cli.cjs', import.meta.url).pathname}`;
      const { stdout, stderr } = spawnSync('unshare', ['-n', 'bash', '-e'], {
        cwd: scratch,
        env: { ...process.env, nestling: nestlingCommand },
        input: session,
        encoding: 'utf8',
      });
      expect(stdout.split('\n'), stderr).toEqual([
        'LIST',
        'tcp:2222 web:22',
        'udp:5353 somebody:5353',
        'AGAIN',
        expect.stringContaining("there is a forward of tcp port 2222 in network 'lab' already"),
        'status 1',
        'GONE',
        expect.stringContaining("couldn't locate a forward of udp port 5353 in network 'lab'"),
        'status 1',
        'RULES',
        'dport 2222 dnat to 192.168.150.7:22',
        'dport 5354 dnat to 192.168.150.9:53',
        'LASTING',
        "portForward proto='tcp' port='2222' guest='web' to='22'/>",
        "portForward proto='udp' port='5354' guest='192.168.150.9' to='53'/>",
        'LEFT',
        '',
      ]);
    },
    60_000,
  );
});
