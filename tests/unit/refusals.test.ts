/**
 * Definitions that libvirt accepts or refuses, each differing from a plain guest in one place: our verdict is the
 * same. Found by trying random definitions against it; what a device family refuses is in the family's own tests.
 */
import { describe, expect, it } from 'vitest';
import { fuzzHost } from '../../fuzz/pipeline.ts';
import { planFromXml } from '../../src/driver/qemu/plan/launch-plan.ts';
import { renderArguments } from '../../src/driver/qemu/plan/render.ts';

const HOST = fuzzHost('x86_64');

interface Pieces {
  /** Inside `<os>`. */
  readonly os?: string;
  readonly machine?: string;
  readonly body?: string;
  readonly devices?: string;
}

function argumentsOf({ machine = 'q35', os = '', body = '', devices = '' }: Pieces): string {
  const xml = `<domain type='qemu'><name>guest</name><uuid>6a1f0d1e-9d0c-4a3b-8d58-1c6f0b9f3a10</uuid>
    <memory unit='MiB'>256</memory><os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os>${body}
    <devices>${devices}</devices></domain>`;
  return renderArguments(planFromXml(xml, HOST), HOST.caps).join(' ');
}

const disk = (attributes: string, children: string, target = "dev='vda' bus='virtio'"): string =>
  `<disk type='file' ${attributes}>${children}<source file='/i'/><target ${target}/></disk>`;
const rng = (more: string): string => `<rng model='virtio'><backend model='random'>/dev/urandom</backend>${more}</rng>`;

describe('accepted', () => {
  it.each<[string, Pieces, string]>([
    ['an interface without a type', { devices: "<interface><model type='virtio'/></interface>" }, '"type":"user"'],
    ['a clock without an offset', { body: '<clock/>' }, '-rtc base=utc'],
    ['an adjustment with a plus sign', { body: "<clock offset='variable' adjustment='+97'/>" }, '-rtc base='],
    ['a second element of a kind', { body: '<title>a</title><title>b</title>' }, '-name'],
    [
      'a redirected device without a bus',
      { devices: "<redirdev type='tcp'><source mode='connect' host='h' service='1'/></redirdev>" },
      'usb-redir',
    ],
    [
      'memory backing that says nothing',
      { body: '<memoryBacking><source/><access/></memoryBacking>' },
      '-m size=262144k',
    ],
    [
      '0 for a number that is not given',
      { devices: disk('', "<driver name='qemu' queues='0' queue_size='0'/>") },
      '"driver":"virtio-blk-pci"',
    ],
    ['an incomplete geometry', { devices: disk('', "<geometry cyls='4'/>") }, '"driver":"virtio-blk-pci"'],
    ['a rate without bytes', { devices: rng('<rate/>') }, '"driver":"virtio-rng-pci"'],
    [
      'an EGD backend that is a text console',
      { devices: "<rng model='virtio'><backend model='egd' type='vc'/></rng>" },
      'rng-egd',
    ],
    [
      'a BIOS that speaks on the serial port',
      { os: "<bios useserial='yes'/>", devices: "<console type='pty'/>" },
      'graphics=off',
    ],
    [
      'a vendor of the board’s own CPU',
      { body: "<cpu><model vendor_id='AuthenticAMD'/></cpu>" },
      'qemu64,vendor=AuthenticAMD',
    ],
    ['a period of 0', { devices: rng("<rate bytes='5' period='0'/>") }, '"period":1000'],
    ['a PIT without a policy', { body: "<clock><timer name='pit'/></clock>" }, 'kvm-pit.lost_tick_policy=delay'],
    [
      'shared memory that stays',
      { devices: "<shmem name='a' role='peer'><model type='ivshmem-plain'/></shmem>" },
      '"master":"off"',
    ],
    [
      'a label of persistent memory',
      {
        body: "<maxMemory slots='1' unit='GiB'>2</maxMemory><cpu><numa><cell cpus='0' memory='262144'/></numa></cpu>",
        devices:
          "<memory model='virtio-pmem'><source><path>/p</path></source><target><size unit='MiB'>128</size></target></memory>",
      },
      '"share":true',
    ],
    ['octal slots', { devices: rng("<address type='pci' bus='0' slot='010'/>") }, '"addr":"0x8"'],
    [
      'hexadecimal ISA addresses without 0x',
      { devices: "<serial type='null'><address type='isa' iobase='3e8' irq='4'/></serial>" },
      '"iobase":1000',
    ],
    ['an alias that is not a user’s', { devices: disk('', "<alias name='ua-a,b'/>") }, '"id":"virtio-disk0"'],
  ])('%s', (_title, pieces, expected) => {
    expect(argumentsOf(pieces)).toContain(expected);
  });
});

describe('refused', () => {
  it('once, where two devices share what is wrong', () => {
    const devices =
      "<serial type='unix'><source mode='bind' path='/s'><reconnect enabled='yes' timeout='1'/></source></serial>";
    const message = "only a source of mode 'connect' can reconnect";
    expect(() => argumentsOf({ devices })).toThrow(new RegExp(`^(?:(?!${message}).)*${message}(?!.*${message})`, 's'));
  });

  it.each<[string, Pieces, RegExp]>([
    ['a slot that is octal and is not', { devices: rng("<address type='pci' bus='0' slot='08'/>") }, /octal/],
    ['two balloons', { devices: "<memballoon model='none'/><memballoon model='none'/>" }, /only once/],
    [
      'copy on read of a LUN',
      {
        devices:
          "<disk type='block' device='lun'><driver name='qemu' copy_on_read='on'/><source dev='/dev/sda'/><target dev='sda' bus='scsi'/></disk>",
      },
      /copy_on_read/,
    ],
    [
      'a read-only IDE disk',
      { machine: 'pc', devices: disk('', '<readonly/>', "dev='hda' bus='ide'") },
      /cannot be read-only/,
    ],
    ['a serial number that would end a property', { devices: disk('', '<serial>a,b=c</serial>') }, /<serial> may hold/],
    [
      'a SPICE channel without SPICE',
      { devices: "<channel type='spicevmc'><target type='virtio'/></channel>" },
      /add <graphics type='spice'/,
    ],
    ['a virtio tablet on USB', { devices: "<input type='tablet' bus='usb' model='virtio'/>" }, /bus 'virtio' only/],
    [
      'a start policy of a PCI device',
      {
        devices:
          "<hostdev mode='subsystem' type='pci'><source startupPolicy='optional'><address bus='1'/></source></hostdev>",
      },
      /USB host devices only/,
    ],
    [
      'virtio options of a VGA card',
      { devices: "<video><driver ats='on'/><model type='vga'/></video>" },
      /options of virtio devices/,
    ],
    [
      'audio settings that are not fixed',
      { devices: "<audio id='1' type='none'><output><settings/></output></audio>" },
      /fixedSettings/,
    ],
    [
      'an EGD backend without its address',
      { devices: "<rng model='virtio'><backend model='egd' type='tcp'/></rng>" },
      /needs <source host/,
    ],
    ['a CPU vendor without a model', { body: '<cpu><vendor>Intel</vendor></cpu>' }, /<vendor> needs a <model>/],
    ['preserving a guest that powered off', { body: '<on_poweroff>preserve</on_poweroff>' }, /<on_crash> only/],
    [
      'a restart on power-off with an end on reboot',
      { body: '<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot>' },
      /choose one/,
    ],
    [
      'a USB companion without its controller',
      { devices: "<controller type='usb' index='1' model='ich9-uhci2'/>" },
      /ich9-ehci1/,
    ],
    [
      'a turning CD-ROM',
      { devices: disk("device='cdrom'", '', "dev='sda' bus='sata' rotation_rate='5'") },
      /rotation_rate/,
    ],
    [
      'passing on all SCSI commands',
      {
        devices:
          "<disk type='block' device='lun' sgio='unfiltered'><source dev='/dev/sda'/><target dev='sda' bus='scsi'/></disk>",
      },
      /no longer have sgio/,
    ],
    [
      'half a MiB of translated code',
      { body: "<features><tcg><tb-cache unit='KiB'>1536</tb-cache></tcg></features>" },
      /whole number of MiB/,
    ],
    [
      'silence as audio settings',
      {
        devices:
          "<audio id='1' type='none'><output mixingEngine='yes' fixedSettings='yes'><settings frequency='0'/></output></audio>",
      },
      /outside 1/,
    ],
    ['a serial BIOS without a port', { os: "<bios useserial='yes'/>" }, /needs a serial port/],
    ['a PIT with a track', { body: "<clock><timer name='pit' track='guest'/></clock>" }, /no track/],
    [
      'a Hyper-V clock with a policy',
      { body: "<clock><timer name='hypervclock' tickpolicy='delay'/></clock>" },
      /no tickpolicy/,
    ],
    [
      'catching up without saying so',
      { body: "<clock><timer name='rtc' tickpolicy='delay'><catchup limit='1'/></timer></clock>" },
      /tickpolicy='catchup' only/,
    ],
    ['a frequency of the RTC', { body: "<clock><timer name='rtc' frequency='3'/></clock>" }, /'tsc' only/],
    [
      'filtered configuration space',
      {
        devices:
          "<hostdev mode='subsystem' type='pci'><source writeFiltering='yes'><address bus='1'/></source></hostdev>",
      },
      /configuration space/,
    ],
    [
      'a pseudo-terminal with two ends',
      { devices: "<serial type='pty'><source path='/a'/><source path='/b'/></serial>" },
      /takes 1 <source>/,
    ],
    ['a guest without a running CPU', { body: "<vcpu current='0'>2</vcpu>" }, /outside 1/],
    [
      'a NUMA cell without memory',
      { body: "<cpu><numa><cell id='0' cpus='0'/></numa></cpu>" },
      /lacks attribute 'memory'/,
    ],
  ])('%s', (_title, pieces, message) => {
    expect(() => argumentsOf(pieces)).toThrow(message);
  });
});
