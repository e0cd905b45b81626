/** Taps on a bridge for real, and a guest with one, each in a network namespace of its own. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bundleScript } from '../support/bundle.ts';

const isPossible =
  existsSync('/dev/net/tun') && spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'br0', 'type', 'bridge']).status === 0;
if (!isPossible) process.stderr.write('SKIPPED: taps need root, /dev/net/tun and bridges\n');

interface Link {
  ifname: string;
  address: string;
  mtu: number;
  master?: string;
  flags: string[];
  linkinfo: { info_data: { multi_queue?: boolean; vnet_hdr?: boolean } };
}

let script: string;
let dir: string;
beforeAll(async () => {
  script = await bundleScript(fileURLToPath(new URL('network-device-program.ts', import.meta.url)));
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-network-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function inNamespace<T>(what: string, xml: string): Promise<T> {
  const args = ['-n', process.execPath, script, what, dir, xml];
  const { stdout } = await promisify(execFile)('unshare', args, { encoding: 'utf8' });
  return JSON.parse(stdout) as T;
}

function guest(devices: string): string {
  const os = "<os><type arch='x86_64' machine='q35'>hvm</type></os>";
  return `<domain type='qemu'><name>net</name><memory unit='MiB'>32</memory>${os}<devices>${devices}</devices></domain>`;
}

const BRIDGED =
  "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/><driver name='qemu' queues='2'/></interface>";

describe.skipIf(!isPossible)('network devices', () => {
  it('are on the bridge with its MTU while they are open, and gone afterwards', async () => {
    const seen = await inNamespace<{
      whileOpen: Link[];
      recorded: unknown[];
      afterwards: Link[];
      stillRecorded: unknown[];
    }>('openAndClose', guest(BRIDGED));
    expect(seen.whileOpen).toHaveLength(1);
    const [tap] = seen.whileOpen;
    expect(tap).toMatchObject({ ifname: 'vnet0', address: 'fe:54:00:00:00:01', mtu: 1300, master: 'br0' });
    expect(tap?.flags).toContain('UP');
    expect(tap?.linkinfo.info_data).toMatchObject({ multi_queue: true, vnet_hdr: true });
    expect(seen.recorded).toMatchObject([{ kind: 'tap', identity: { name: 'vnet0', mac: 'fe:54:00:00:00:01' } }]);
    expect(seen).toMatchObject({ afterwards: [], stillRecorded: [] });
  });

  it('are free-standing for ethernet, with a name and addresses of their own', async () => {
    const ips = "<source><ip address='192.0.2.1' prefix='24'/></source>";
    const target = "<target dev='mine0'/><mtu size='1234'/>";
    const xml = guest(
      `<interface type='ethernet'><mac address='52:54:00:00:00:02'/>${ips}${target}<driver queues='2'/><model type='virtio'/></interface>`,
    );
    const { whileOpen } = await inNamespace<{ whileOpen: Link[] }>('openAndClose', xml);
    expect(whileOpen).toMatchObject([{ ifname: 'mine0', mtu: 1234 }]);
    expect(whileOpen[0]?.master).toBeUndefined();
  });

  it('that a dead process left are collected, unless somebody else has taken the name', async () => {
    const seen = await inNamespace<{ removed: string[]; failed: string[]; taps: Link[] }>('collect', guest(''));
    expect(seen.failed).toEqual([]);
    expect(seen.removed).toHaveLength(2);
    expect(seen.taps.map(({ ifname }) => ifname)).toEqual(['other0']);
  });

  it('are refused with the fix when the bridge is missing', async () => {
    const xml = guest(BRIDGED.replace('br0', 'br9'));
    const seen = await inNamespace<{ message: string; taps: Link[]; recorded: unknown[] }>('refuse', xml);
    expect(seen.message).toMatch(/bridge 'br9' does not exist: create it \(ip link add br9 type bridge/);
    expect(seen).toMatchObject({ taps: [], recorded: [] });
  });

  it('belong to a guest: there while it runs, gone with it', async () => {
    const seen = await inNamespace<{ whileRunning: Link[]; live: string; afterwards: Link[]; recorded: string[] }>(
      'runGuest',
      guest(BRIDGED),
    );
    expect(seen.whileRunning).toMatchObject([{ ifname: 'vnet0', master: 'br0' }]);
    expect(seen.live).toContain("<target dev='vnet0'/>");
    expect(seen.afterwards).toEqual([]);
    expect(seen.recorded).not.toContain('tap');
  });

  it('join a running guest and leave it again', async () => {
    const usb =
      "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><model type='usb-net'/></interface>";
    const seen = await inNamespace<{
      whilePlugged: Link[];
      limits: string[];
      told: unknown;
      live: string;
      message: string;
      afterwards: Link[];
    }>('plug', guest(usb));
    expect(seen.whilePlugged).toMatchObject([{ ifname: 'vnet0', address: 'fe:54:00:00:00:02', master: 'br0' }]);
    expect(seen.live).toContain("<target dev='vnet0'/>");
    // domiftune while it runs: a limit, another one in its place, none.
    expect(seen.limits).toEqual([
      expect.stringMatching(/htb.*rate 800Kbit/s),
      expect.stringMatching(/htb.*rate 1600Kbit/s),
      expect.not.stringMatching(/htb|police|limit rate/),
    ]);
    expect(seen.told).toMatchObject({ 'inbound.average': 0 });
    expect(seen.message).toContain("bridge 'br9' does not exist");
    expect(seen.afterwards).toEqual([]);
  });
});
