import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorCode, type VirtError } from '../../core/errors.ts';
import { parseHostInterface } from '../../model/host-interface.ts';
import { HostInterfaces } from './host-interfaces.ts';

let dir: string;
let interfaces: HostInterfaces;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'interfaces-'));
  interfaces = new HostInterfaces({ sys: dir, proc: join(dir, 'proc') });
  add('eth0', '52:54:00:00:00:01', { operstate: 'up', speed: '1000', mtu: '1500' });
  add('eth1', '52:54:00:00:00:02', { operstate: 'up', speed: '-1', mtu: '9000' });
  add('lo', '00:00:00:00:00:00', { operstate: 'unknown', mtu: '65536' });
  add('tap0', '52:54:00:00:00:03', { operstate: 'down', tun_flags: '0x1002' });
  add('p0', '52:54:00:00:00:04', { operstate: 'up', speed: '10000', mtu: '1500', 'brport/state': '3' });
  add('br0', '52:54:00:00:00:04', {
    uevent: 'DEVTYPE=bridge\nINTERFACE=br0\n',
    operstate: 'up',
    mtu: '1500',
    'bridge/stp_state': '0',
    'bridge/forward_delay': '1500',
    'brif/p0/state': '3',
  });
  add('twin', '52:54:00:00:00:02', { operstate: 'down' });
  add('bond0', '52:54:00:00:00:05', {
    uevent: 'DEVTYPE=bond\n',
    operstate: 'up',
    mtu: '1500',
    'bonding/mode': 'active-backup 1',
    'bonding/miimon': '100',
    'bonding/updelay': '200',
    'bonding/downdelay': '0',
    'bonding/use_carrier': '1',
    'bonding/arp_interval': '0',
  });
  symlinkSync('../eth1', join(dir, 'class/net/bond0/slave_eth1'));
  add('bond1', '52:54:00:00:00:06', {
    uevent: 'DEVTYPE=bond\n',
    operstate: 'down',
    'bonding/mode': '802.3ad 4',
    'bonding/miimon': '0',
    'bonding/arp_interval': '50',
    'bonding/arp_ip_target': '192.0.2.9',
    'bonding/arp_validate': 'all 3',
  });
  add('eth0.42', '52:54:00:00:00:07', { uevent: 'DEVTYPE=vlan\n', operstate: 'up', mtu: '1500' });
  write('proc/net/vlan/eth0.42', 'eth0.42  VID: 42\t REORDER_HDR: 1  dev->priv_flags: 1\nDevice: eth0\nINGRESS\n');
  // No interface: a file of the bonding module.
  write('class/net/bonding_masters', 'bond0\n');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function add(name: string, address: string, attributes: Readonly<Record<string, string>>): void {
  for (const [attribute, text] of Object.entries({ uevent: `INTERFACE=${name}\n`, address, ...attributes }))
    write(`class/net/${name}/${attribute}`, `${text}\n`);
}

function write(path: string, text: string): void {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
}

describe('interfaces of the host', () => {
  it('are listed without taps and ports of bridges', async () => {
    const names = async (active?: boolean): Promise<string[]> =>
      (await interfaces.list({ active })).map(({ name }) => name);
    expect(await names()).toEqual(['bond0', 'bond1', 'br0', 'eth0', 'eth0.42', 'eth1', 'lo', 'twin']);
    expect(await names(true)).toEqual(['bond0', 'br0', 'eth0', 'eth0.42', 'eth1']);
    expect(await names(false)).toEqual(['bond1', 'lo', 'twin']);
    expect([await interfaces.isActive('eth0'), await interfaces.isActive('lo')]).toEqual([true, false]);
  });

  it('are found by name and MAC address', async () => {
    expect(await interfaces.lookupByName('tap0')).toEqual({ name: 'tap0', mac: '52:54:00:00:00:03' });
    // Its port has the same.
    expect((await interfaces.lookupByMac('52:54:00:00:00:04')).name).toBe('br0');
    await expectCode(interfaces.lookupByName('nope'), ErrorCode.NO_INTERFACE);
    await expectCode(interfaces.lookupByName('../net/lo'), ErrorCode.NO_INTERFACE);
    await expectCode(interfaces.lookupByName('bonding_masters'), ErrorCode.NO_INTERFACE);
    await expectCode(interfaces.lookupByMac('52:54:00:00:00:99'), ErrorCode.NO_INTERFACE);
    await expectCode(interfaces.lookupByMac('52:54:00:00:00:02'), ErrorCode.MULTIPLE_INTERFACES);
    await expectCode(interfaces.xmlDesc('nope'), ErrorCode.NO_INTERFACE);
  });

  it('are described as libvirt describes them', async () => {
    expect(await interfaces.xmlDesc('eth0')).toBe(`<interface type='ethernet' name='eth0'>
  <mtu size='1500'/>
  <link speed='1000' state='up'/>
  <mac address='52:54:00:00:00:01'/>
</interface>
`);
    expect(await interfaces.xmlDesc('eth1')).toContain("<link speed='4294967295' state='up'/>");
    expect(await interfaces.xmlDesc('lo')).toContain("<link state='unknown'/>");
    expect(await interfaces.xmlDesc('br0')).toBe(`<interface type='bridge' name='br0'>
  <mtu size='1500'/>
  <bridge stp='off' delay='1500'>
    <interface type='ethernet' name='p0'>
      <link speed='10000' state='up'/>
      <mac address='52:54:00:00:00:04'/>
    </interface>
  </bridge>
</interface>
`);
    expect(await interfaces.xmlDesc('eth0.42')).toBe(`<interface type='vlan' name='eth0.42'>
  <mtu size='1500'/>
  <vlan tag='42'>
    <interface name='eth0'/>
  </vlan>
</interface>
`);
    expect(await interfaces.xmlDesc('bond0')).toBe(`<interface type='bond' name='bond0'>
  <mtu size='1500'/>
  <bond mode='active-backup'>
    <miimon freq='100' downdelay='0' updelay='200' carrier='netif'/>
    <interface type='ethernet' name='eth1'>
      <link speed='4294967295' state='up'/>
      <mac address='52:54:00:00:00:02'/>
    </interface>
  </bond>
</interface>
`);
    expect(await interfaces.xmlDesc('bond1')).toContain("<arpmon interval='50' target='192.0.2.9' validate='all'/>");
  });

  it('can be read again', async () => {
    const bridge = parseHostInterface(await interfaces.xmlDesc('br0'));
    expect(bridge.bridge?.interface.map(({ name }) => name)).toEqual(['p0']);
    expect(() => parseHostInterface('<interface type="bridg" name="x"/>')).toThrow(/did you mean 'bridge'/);
  });
});

async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (reason: VirtError) => reason,
  );
  expect(error).toMatchObject({ code });
}
