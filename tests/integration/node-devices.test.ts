/**
 * Devices and interfaces of the host, compared with what a real libvirtd tells of the same: of this host, of a made-up sysfs with one device of
 * each kind (mounted over /sys in a mount namespace of the daemon's own), and of interfaces in a network namespace.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { NodeDevices } from '../../src/driver/nodedev/node-devices.ts';
import { ALL_KINDS, makeSysfs } from '../../src/driver/nodedev/testing/fake-sysfs.ts';
import { connect } from '../../src/index.ts';
import { formatXml } from '../../src/xml/format.ts';
import { parseXml } from '../../src/xml/parse.ts';
import { bundleScript } from '../support/bundle.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';

const run = promisify(execFile);
const TRIES = 20;
const isRoot = process.getuid?.() === 0;
const comparable = isRoot && hasLibvirtd();
if (!comparable) process.stderr.write('SKIPPED: comparing devices of the host needs root and libvirt-daemon\n');

async function virsh(uri: string, ...args: readonly string[]): Promise<string> {
  return (await run('virsh', ['-c', uri, ...args])).stdout;
}

async function listed(uri: string, ...args: readonly string[]): Promise<string[]> {
  return (await virsh(uri, ...args)).split('\n').filter((line) => line !== '');
}

/** Equal XML is equal text. Members of an IOMMU group have no order. */
function plain(xml: string): string {
  return formatXml(parseXml(xml).root).replace(/<iommuGroup[^]*?<\/iommuGroup>/, (group) =>
    group
      .split('\n')
      .toSorted((a, b) => (a < b ? -1 : 1))
      .join('\n'),
  );
}

/** Those whose two descriptions differ, or cannot both be had. */
async function differingOf(
  names: readonly string[],
  describeBoth: (name: string) => Promise<[ours: string, theirs: string]>,
): Promise<[name: string, ours: string, theirs: string][]> {
  const found: [string, string, string][] = [];
  for (const name of names) {
    const [ours, theirs] = await describeBoth(name).catch((error: unknown) => ['', String(error)] as const);
    if (ours === '' || plain(ours) !== plain(theirs)) found.push([name, ours, theirs]);
  }
  return found;
}

describe.skipIf(!comparable)('devices of the host', () => {
  it('are those that libvirtd has, and described in the same words', async () => {
    await using libvirtd = await startLibvirtd();
    await using connection = await connect('qemu:///embed');
    const { nodeDevices, interfaces } = connection;
    // The host is not ours alone: what comes or goes between two looks is looked at again.
    const inOrder = (names: readonly string[]): string[] => names.toSorted((a, b) => (a < b ? -1 : 1));
    const compared = async (): Promise<[ours: string[], theirs: string[]]> => [
      inOrder((await nodeDevices.list()).map(({ name }) => name)),
      await listed(libvirtd.uri, 'nodedev-list'),
    ];
    let [ours, theirs] = await compared();
    for (let again = 0; again < TRIES && String(ours) !== String(theirs); again++) [ours, theirs] = await compared();
    expect(ours).toEqual(theirs);
    const differing = await differingOf(ours, async (name) => [
      await nodeDevices.xmlDesc(name),
      await virsh(libvirtd.uri, 'nodedev-dumpxml', name),
    ]);
    const here = (await nodeDevices.list()).map(({ name }) => name);
    expect(differing.filter(([name]) => here.includes(name))).toEqual([]);
    const names = (await interfaces.list()).map(({ name }) => name);
    const differingToo = await differingOf(names, async (name) => [
      await interfaces.xmlDesc(name),
      await virsh(libvirtd.uri, 'iface-dumpxml', name),
    ]);
    const left = (await interfaces.list()).map(({ name }) => name);
    expect(differingToo.filter(([name]) => left.includes(name))).toEqual([]);
  });

  it('of every kind are described in the same words', async () => {
    const fake = makeSysfs(ALL_KINDS());
    try {
      mkdirSync(join(fake.sys, 'devices/system'));
      await using libvirtd = await startLibvirtd('', {
        before: [
          `mount --bind /sys/devices/system ${fake.sys}/devices/system`,
          `mkdir -p /run/udev && mount -t tmpfs none /run/udev && mkdir /run/udev/data`,
          `mount --bind ${fake.udev} /run/udev/data`,
          `mount --rbind ${fake.sys} /sys`,
        ],
        // libudev would take only a real sysfs.
        env: { SYSTEMD_DEVICE_VERIFY_SYSFS: '0' },
      });
      using devices = new NodeDevices({ sys: fake.sys, udev: fake.udev, netFeatures: () => [] });
      // Its node would have to be in /dev.
      const ours = (await devices.list()).map(({ name }) => name).filter((name) => name !== 'vdpa_vdpa0');
      expect(ours.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(await listed(libvirtd.uri, 'nodedev-list'));
      for (const name of ours) {
        expect(plain(await devices.xmlDesc(name))).toBe(plain(await virsh(libvirtd.uri, 'nodedev-dumpxml', name)));
      }
      for (const kind of ['mdev_types', 'vpd', 'fc_host', 'vports', 'ap_queue', 'storage', 'pci']) {
        const found = await devices.list({ capabilities: [kind] });
        expect(found.map(({ name }) => name)).toEqual(await listed(libvirtd.uri, 'nodedev-list', '--cap', kind));
      }
    } finally {
      rmSync(fake.dir, { recursive: true });
    }
  });
});

const NETWORK = [
  'ip link add br0 type bridge',
  'ip link add v0 type veth peer name v1',
  'ip link set v0 master br0',
  ...['br0', 'v0', 'v1', 'lo'].map((name) => `ip link set ${name} up`),
  'ip link add br1 type bridge',
  'ip tuntap add tap0 mode tap',
];

describe.skipIf(!comparable)('interfaces of the host', () => {
  it('in a network namespace are those that libvirtd has there', async () => {
    await using libvirtd = await startLibvirtd('', { ownNetwork: true, before: NETWORK });
    const program = await bundleScript(fileURLToPath(new URL('host-interfaces-program.ts', import.meta.url)));
    const child = spawn('nsenter', ['-t', String(libvirtd.pid), '-n', '-m', process.execPath, program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    expect(await once(child, 'close')).toEqual([0, null]);
    const ours = JSON.parse(text) as { interfaces: Record<string, string>; devices: Record<string, string> };
    const names = (await listed(libvirtd.uri, 'iface-list', '--all'))
      .slice(2)
      .map((line) => line.trim().split(/\s+/)[0]);
    expect(Object.keys(ours.interfaces)).toEqual(names);
    for (const [name, xml] of Object.entries(ours.interfaces)) {
      expect(plain(xml)).toBe(plain(await virsh(libvirtd.uri, 'iface-dumpxml', name)));
    }
    expect(Object.keys(ours.devices)).toEqual(await listed(libvirtd.uri, 'nodedev-list', '--cap', 'net'));
    for (const [name, xml] of Object.entries(ours.devices)) {
      expect(plain(xml)).toBe(plain(await virsh(libvirtd.uri, 'nodedev-dumpxml', name)));
    }
  });
});

describe.skipIf(!isRoot)('events', () => {
  it('come from the kernel when a device comes and goes', async () => {
    const program = await bundleScript(fileURLToPath(new URL('device-events-program.ts', import.meta.url)));
    const script = `mount -t sysfs none /sys && exec ${process.execPath} ${program}`;
    const { stdout } = await run('unshare', ['--net', '--mount', '--propagation', 'private', 'sh', '-c', script]);
    expect(
      stdout
        .trim()
        .split('\n')
        .toSorted((a, b) => (a < b ? -1 : 1)),
    ).toEqual([
      'created net_v0_02_00_00_00_00_01',
      'created net_v1_02_00_00_00_00_02',
      'deleted net_v0_02_00_00_00_00_01',
      'deleted net_v1_02_00_00_00_00_02',
    ]);
  });
});
