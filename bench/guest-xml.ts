/** The definitions that the benches use, as text. */

export interface BenchGuestXml {
  readonly name: string;
  readonly image: string;
  readonly fifoPath: string;
}

const EMULATOR = '/usr/bin/qemu-system-x86_64';

/** One disk and one serial port: what libvirt's `virt-qemu-run` takes as well. */
export function guestXml({ name, image, fifoPath }: BenchGuestXml): string {
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <emulator>${EMULATOR}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='${image}'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
    </disk>
    <serial type='pipe'>
      <source path='${fifoPath}'/>
      <target port='0'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

const repeat = (count: number, device: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, index) => device(index));

const letter = (index: number): string => String.fromCharCode('a'.charCodeAt(0) + index);

const DEVICES: readonly string[] = [
  ...repeat(
    8,
    (index) => `<disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/srv/images/disk${index}.qcow2'/>
      <backingStore/>
      <target dev='vd${letter(index)}' bus='virtio'/>
    </disk>`,
  ),
  `<disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/srv/images/install.iso'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>`,
  ...repeat(
    4,
    (index) => `<interface type='user'>
      <mac address='52:54:00:12:34:0${index}'/>
      <model type='virtio'/>
    </interface>`,
  ),
  ...repeat(
    3,
    (index) => `<filesystem type='mount' accessmode='mapped'>
      <source dir='/srv/share${index}'/>
      <target dir='share${index}'/>
    </filesystem>`,
  ),
  ...repeat(
    4,
    (index) => `<channel type='unix'>
      <target type='virtio' name='org.example.channel.${index}'/>
    </channel>`,
  ),
  `<controller type='scsi' index='0' model='virtio-scsi'/>`,
  `<serial type='pty'><target port='0'/></serial>`,
  `<input type='tablet' bus='usb'/>`,
  `<input type='keyboard' bus='virtio'/>`,
  `<graphics type='vnc' port='5901' autoport='no'/>`,
  `<video><model type='virtio' heads='1'/></video>`,
  `<watchdog model='i6300esb' action='reset'/>`,
  `<memballoon model='virtio'/>`,
  `<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
  `<panic model='isa'/>`,
];

/** How many devices `richGuestXml` declares. */
export const RICH_GUEST_DEVICES = DEVICES.length;

/** A guest of thirty devices, never started: for what planning takes. */
export function richGuestXml(): string {
  return `<domain type='qemu'>
  <name>bench-rich</name>
  <uuid>0f0c6b0e-3a3c-4f2e-9b6e-6f5d7d3b2a10</uuid>
  <memory unit='GiB'>4</memory>
  <vcpu placement='static'>4</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock>
  <devices>
    <emulator>${EMULATOR}</emulator>
    ${DEVICES.join('\n    ')}
  </devices>
</domain>
`;
}
