/** Virtual networks of an embedded connection for real: each test is a host of its own, in a network namespace; guests are namespaces, or QEMU. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bundleScript } from '../support/bundle.ts';

const isPossible =
  spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'br0', 'type', 'bridge']).status === 0 &&
  ['dnsmasq', 'busybox', 'nft'].every((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0);
if (!isPossible)
  process.stderr.write('SKIPPED: virtual networks need root, bridges, dnsmasq-base, nftables and busybox\n');

let script: string;
let dir: string;
beforeAll(async () => {
  script = await bundleScript(fileURLToPath(new URL('network-driver-program.ts', import.meta.url)));
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-net-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function onHost<T>(what: string): Promise<T> {
  const { stdout } = await promisify(execFile)('unshare', ['-n', process.execPath, script, what, dir], {
    encoding: 'utf8',
    timeout: 40_000,
    killSignal: 'SIGKILL',
    env: { ...process.env, XDG_RUNTIME_DIR: dir, TMPDIR: dir },
  });
  return JSON.parse(stdout) as T;
}

describe.skipIf(!isPossible)('virtual networks', () => {
  it('give their guests addresses and names, and are gone when they are stopped', async () => {
    const seen = await onHost<Record<string, unknown> & { leases: unknown[]; routes: string }>('serve');
    expect(seen).toMatchObject({
      bridge: [
        {
          operstate: expect.any(String),
          linkinfo: { info_kind: 'bridge', info_data: { stp_state: 0, forward_delay: 0 } },
          addr_info: expect.arrayContaining([
            expect.objectContaining({ local: '192.168.77.1', prefixlen: 24, broadcast: '192.168.77.255' }),
            expect.objectContaining({ local: 'fd77::1', prefixlen: 64 }),
          ]),
        },
      ],
      raAccepted: '0',
      // An isolated network has no router to offer.
      fixed: '192.168.77.50/24 none lab.example',
      dynamic: expect.stringMatching(/^192\.168\.77\.1[012]\d\/24 none lab\.example$/),
      toHost: true,
      toEachOther: true,
      names: ['192.168.77.5', expect.stringMatching(/^192\.168\.77\.1/), '192.168.77.50'],
      late: '192.168.77.9',
      leasesKept: 2,
      missing: expect.stringMatching(/cannot read the DHCP hosts of network 'lab': ENOENT/),
      listed: expect.stringMatching(/^192\.168\.77\.60\//),
      note: expect.stringMatching(/network 'lab' keeps the DHCP hosts it had: .*hosts:1: no IP address/),
      stopped: ['veth1', 'veth2'],
      rules: '',
    });
    expect(seen.routes).toContain('192.168.78.0/24 via 192.168.77.50 dev lab0');
    expect(seen.leases).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          mac: '52:54:00:00:77:01',
          address: '192.168.77.50',
          prefix: 24,
          iface: 'lab0',
          type: 'ipv4',
        }),
        expect.objectContaining({ mac: '52:54:00:00:77:02', hostname: 'two' }),
      ]),
    );
  });

  it('leave nothing behind when their owner is killed', async () => {
    const seen = await onHost('killed');
    expect(seen).toEqual({ before: { devices: ['lab0'], servers: 1 }, after: [], alive: 0, rules: '' });
  });

  it('are refused where they would take what others have, and leave nothing half made', async () => {
    const seen = await onHost<Record<string, string> & { devices: string[] }>('refuse');
    expect(seen.first).toBe('started');
    expect(seen.sameSubnet).toMatch(/Network is already in use by interface virbr\d/);
    expect(seen.sameBridge).toMatch(/bridge name 'virbr\d' already in use/);
    expect(seen.othersBridge).toMatch(/creating bridge interface mine0: File exists/);
    expect(seen.noServer).toMatch(/dnsmasq ended with status 1: bad option/);
    expect(seen.devices.filter((name) => name !== 'mine0')).toHaveLength(1);
  });

  it('take guests of QEMU: on a bridge and on a device of the host, back after a restart of the network', async () => {
    const seen = await onHost<Record<string, string> & { links: unknown[] }>('guests');
    expect(seen.xml).toMatch(
      /<interface type='network'>[^]*<source network='default' portid='[0-9a-f-]{36}' bridge='virbr\d'\/>[^]*<target dev='vnet0'\/>/,
    );
    expect(seen.xml).toMatch(
      /<interface type='direct'>[^]*<source network='pool' portid='[0-9a-f-]{36}' dev='up0' mode='bridge'\/>[^]*<target dev='macvtap0'\/>/,
    );
    expect(seen.links).toMatchObject([
      { ifname: 'vnet0', address: 'fe:54:00:00:00:0a', master: expect.stringMatching(/^virbr/) },
      { ifname: 'macvtap0', address: '52:54:00:00:00:0b', link: 'up0' },
    ]);
    expect(seen.port).toMatch(
      /<owner>\s+<name>both<\/name>[^]*<mac address='52:54:00:00:00:0a'\/>[^]*<plug type='network' bridge='virbr\d'\/>/,
    );
    expect(seen.uses).toMatch(/<network connections='1'>[^]*<interface dev='up0' connections='1'\/>/);
    expect(seen.inactive).toMatch(/no network with matching name 'nowhere'/);
    expect(seen.unplugged).toBeUndefined();
    expect(seen.replugged).toMatch(/^virbr/);
    expect(seen).toMatchObject({ after: expect.not.arrayContaining(['vnet0', 'macvtap0']), portsAfter: 0 });
  });
});
