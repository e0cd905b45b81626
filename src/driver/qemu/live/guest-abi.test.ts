import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { guestDifferences, requireSameGuest } from './guest-abi.ts';

const XML = `<domain type='qemu'>
  <name>abi</name><uuid>6ba7b810-9dad-11d1-80b4-00c04fd430c8</uuid>
  <memory unit='KiB'>65536</memory><vcpu>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
    <graphics type='vnc' port='-1' autoport='yes'/>
    <video><model type='vga' vram='16384' heads='1'/></video>
    <memballoon model='none'/>
  </devices>
</domain>`;

function differences(from: string, to: string): string[] {
  expect(XML).toContain(from);
  return guestDifferences(read(XML), read(XML.replace(from, to)));
}

function read(xml: string): Domain {
  return parseDomain(xml).domain;
}

describe('two definitions of one guest', () => {
  it.each([
    ["<source file='/a'/>", "<source file='/b'/>"],
    ["<interface type='user'>", "<interface type='bridge'><source bridge='br0'/>"],
    ["<graphics type='vnc' port='-1' autoport='yes'/>", ''],
    ["<memballoon model='none'/>", ''],
    ['<vcpu>2</vcpu>', "<vcpu cpuset='0'>2</vcpu><cputune><shares>3</shares></cputune><description>x</description>"],
  ])('may differ in %s', (from, to) => {
    expect(differences(from, to)).toEqual([]);
  });

  it.each([
    ['pc-q35-7.2', 'pc-q35-7.1', 'os.type is {"arch":"x86_64","machine":"pc-q35-7.1"'],
    ['<vcpu>2</vcpu>', '<vcpu>3</vcpu>', 'vcpu.value is 3, was 2'],
    ['65536', '65537', 'memory.value is 65537, was 65536'],
    ['<acpi/>', '', 'features is nothing'],
    ['qemu64', 'qemu32', "cpu.model.value is 'qemu32', was 'qemu64'"],
    ["bus='0x04'", "bus='0x05'", 'disks[vda] address is'],
    [
      "<target dev='vda' bus='virtio'/>",
      "<target dev='vda' bus='sata'/>",
      "disks[vda] target.bus is 'sata', was 'virtio'",
    ],
    ['52:54:00:00:00:01', '52:54:00:00:00:02', "mac.address is '52:54:00:00:00:02', was '52:54:00:00:00:01'"],
    [
      "<model type='virtio'/>",
      "<model type='e1000'/>",
      "interfaces[52:54:00:00:00:01] model.type is 'e1000', was 'virtio'",
    ],
    ["vram='16384'", "vram='8192'", 'videos[0] model.vram is 8192, was 16384'],
    ["<memballoon model='none'/>", "<memballoon model='virtio'/>", 'memballoon: 1 of them, there were 0'],
    ["<memballoon model='none'/>", "<input type='tablet' bus='usb'/>", 'inputs: 1 of them, there were 0'],
  ])('may not differ in %s and %s', (from, to, words) => {
    const found = differences(from, to);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(words);
  });

  it('are refused with every difference in one line', () => {
    const other = read(XML.replace('65536', '1024').replace('qemu64', 'qemu32'));
    expect(() => requireSameGuest(read(XML), other)).toThrow(/^[^\n]*memory\.value[^\n]*; cpu\.model[^\n]*$/);
  });
});
