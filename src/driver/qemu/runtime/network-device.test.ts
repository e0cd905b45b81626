import { closeSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NetworkCallError, type NetworkCalls } from '../../../guest/network-device-ioctl.ts';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { NetworkDevices } from './network-device.ts';
import { tapSettingsOf } from './network-device-settings.ts';

let dir: string;
let tun: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
  tun = join(dir, 'tun');
  writeFileSync(tun, '');
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('tapSettingsOf', () => {
  const read = (xml: string) => {
    const [device] = interfacesOf(xml);
    if (device === undefined) throw new Error('no interface');
    return tapSettingsOf(device);
  };

  it('takes bridge, MAC, MTU and queues', () => {
    const more = "<mtu size='9000'/><driver queues='4'/><tune><sndbuf>0</sndbuf></tune>";
    expect(read(bridge(`<model type='virtio'/>${more}`))).toMatchObject({
      bridge: 'br7',
      mac: 'fe:54:00:00:00:01',
      mtu: 9000,
      queues: 4,
      vnetHeader: true,
      sendBufferBytes: 0,
      name: undefined,
    });
  });

  it('keeps names that were chosen and not those that were made up', () => {
    expect(read(bridge("<target dev='mytap'/>")).name).toBe('mytap');
    expect(read(bridge("<target dev='vnet3'/>")).name).toBeUndefined();
    expect(read(bridge("<target dev='tap%d'/>")).name).toBeUndefined();
  });

  it.each([
    ["<interface type='user'><mac address='52:54:00:00:00:01'/></interface>", /type='user'/],
    [bridge("<filterref filter='clean-traffic'/>"), /<filterref>, which an embedded connection cannot carry out/],
    [bridge("<coalesce/><vlan><tag id='7'/></vlan>"), /<vlan>, <coalesce>/],
    [bridge('').replace('52:54', 'fe:54'), /fe is kept for the host's end/],
  ])('refuses %s', (xml, message) => expect(() => read(xml)).toThrow(message));
});

describe('NetworkDevices', () => {
  const request = { kind: 'tap', interfaceAlias: 'net0', queue: 0 } as const;

  function open(xml: string, calls: Partial<NetworkCalls>) {
    const log: string[] = [];
    const note =
      (name: string) =>
      (...args: unknown[]): void => {
        log.push([name, ...args.filter((argument) => typeof argument !== 'object')].join(' '));
      };
    const interfaces = interfacesOf(
      xml.replace('</interface>', `<backend tap='${tun}' vhost='${dir}/none'/></interface>`),
    );
    const devices = new NetworkDevices({
      interfaces,
      ledger: {
        record: (kind, identity) => {
          log.push(`record ${kind} ${identity['name']} ${identity['mac']}`);
          return { id: 1, kind, identity, done: () => void log.push(`done ${identity['name']}`) };
        },
      },
      limit: async (name, { inbound }, { hostView }) => {
        log.push(`limit ${name} inbound ${inbound?.average} ${hostView}`);
        return { [Symbol.asyncDispose]: async () => void log.push(`lift ${name}`) };
      },
      loadCalls: async () => ({
        indexOf: (name) => (name === 'br7' ? 1 : 0),
        setTap: (_fd, name) => note('setTap')(name),
        setSendBuffer: (_fd, bytes) => note('setSendBuffer')(bytes),
        macOf: () => '',
        setMac: note('setMac'),
        mtuOf: () => 1400,
        setMtu: note('setMtu'),
        setUp: note('setUp'),
        addToBridge: note('addToBridge'),
        ...calls,
      }),
    });
    return { devices, log, interfaces };
  }

  it('records a tap before it makes it, and gives the bridge its MTU before it joins', async () => {
    const { devices, log, interfaces } = open(bridge(''), {});
    closeSync(await devices.open(request));
    await devices[Symbol.asyncDispose]();
    expect(log).toEqual([
      'record tap vnet0 fe:54:00:00:00:01',
      'setTap vnet0',
      'setMac vnet0 fe:54:00:00:00:01',
      'setMtu vnet0 1400',
      'addToBridge br7 vnet0',
      'setUp vnet0',
      'done vnet0',
    ]);
    expect(interfaces[0]?.target?.dev).toBe('vnet0');
  });

  it('limits what is to be limited before anybody uses it, and lifts that with the guest', async () => {
    const { devices, log } = open(bridge("<bandwidth><inbound average='100'/></bandwidth>"), {});
    closeSync(await devices.open(request));
    await devices[Symbol.asyncDispose]();
    expect(log.slice(-3)).toEqual(['limit vnet0 inbound 100 false', 'lift vnet0', 'done vnet0']);
  });

  it('takes the next name when another process was faster', async () => {
    const taken = new Set<string>();
    const { devices, log } = open(bridge(''), {
      indexOf: (name) => (name === 'br7' || taken.has(name) ? 1 : 0),
      setTap: (_fd, name) => {
        if (taken.has('vnet0')) return;
        taken.add('vnet0');
        throw new NetworkCallError('TUNSETIFF', name, 'EBUSY');
      },
    });
    closeSync(await devices.open(request));
    expect(log.filter((line) => line.startsWith('record') || line.startsWith('done'))).toEqual([
      'record tap vnet0 fe:54:00:00:00:01',
      'done vnet0',
      'record tap vnet1 fe:54:00:00:00:01',
    ]);
  });

  it('joins further queues to the first one', async () => {
    const present = new Set(['br7']);
    const connected: unknown[] = [];
    const { devices, log } = open(bridge("<model type='virtio'/><driver queues='2'/>"), {
      indexOf: (name) => (present.has(name) ? 1 : 0),
      setTap: (_fd, name, { exclusive, multiQueue }) => {
        present.add(name);
        connected.push({ name, exclusive, multiQueue });
      },
    });
    closeSync(await devices.open(request));
    closeSync(await devices.open({ ...request, queue: 1 }));
    expect(connected).toEqual([
      { name: 'vnet0', exclusive: true, multiQueue: true },
      { name: 'vnet0', exclusive: false, multiQueue: true },
    ]);
    expect(log.filter((line) => line.startsWith('record'))).toHaveLength(1);
  });

  it.each([
    [
      'bridge',
      bridge(''),
      { indexOf: () => 0 },
      /bridge 'br7' does not exist: create it \(ip link add br7 type bridge/,
    ],
    [
      'privilege',
      bridge(''),
      { setTap: fail('EPERM') },
      /EPERM; run as root \(CAP_NET_ADMIN\), or use <interface type='user'\/>/,
    ],
    ['a bridge that is none', bridge(''), { addToBridge: fail('EOPNOTSUPP') }, /'br7' is no bridge/],
    ['a free name', bridge("<target dev='mytap'/>"), { setTap: fail('EBUSY') }, /'mytap' exists already/],
    ['a short name', bridge("<target dev='a-very-long-name'/>"), {}, /longer than 15 bytes/],
    ['a kept tap', ethernet("<target dev='mytap' managed='no'/>"), {}, /ip tuntap add dev mytap mode tap/],
  ])('says what is missing: %s', async (_case, xml, calls, message) => {
    const { devices, log } = open(xml, calls);
    await expect(devices.open(request)).rejects.toThrow(message);
    const count = (word: string) => log.filter((line) => line.startsWith(word)).length;
    expect(count('record')).toBe(count('done'));
  });

  it('says how to do without vhost-net', async () => {
    const { devices } = open(bridge(''), {});
    await expect(devices.open({ ...request, kind: 'vhost-net' })).rejects.toThrow(
      /none: ENOENT; load the kernel's vhost_net module, or use <driver name='qemu'\/>/,
    );
  });
});

function fail(errno: string) {
  return (): never => {
    throw new NetworkCallError('ioctl', 'it', errno);
  };
}

function bridge(more: string): string {
  return `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br7'/>${more}<alias name='net0'/></interface>`;
}

function ethernet(more: string): string {
  return `<interface type='ethernet'><mac address='52:54:00:00:00:01'/>${more}<alias name='net0'/></interface>`;
}

function interfacesOf(xml: string): NonNullable<Domain['devices']>['interfaces'] {
  const text = `<domain type='qemu'><name>g</name><memory>1</memory><os><type>hvm</type></os><devices>${xml}</devices></domain>`;
  const interfaces = parseDomain(text).domain.devices?.interfaces ?? [];
  for (const device of interfaces) device.alias ??= { name: 'net0' };
  return interfaces;
}
