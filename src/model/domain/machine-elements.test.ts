/** The elements about the machine as a whole survive reading and writing, in libvirt's order. */
import { describe, expect, it } from 'vitest';
import { DefinitionError } from '../schema/faults.ts';
import { formatDomain, parseDomain } from './domain.ts';

const QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'";

function roundTrip(body: string, attributes = ''): string {
  const { domain, warnings } = parseDomain(`<domain type='kvm'${attributes}>${body}</domain>`);
  expect(warnings).toEqual([]);
  return formatDomain(domain)
    .split('\n')
    .slice(1, -2)
    .map((line) => line.trim())
    .join('');
}

const RICH: [string, string, string?][] = [
  [
    'os',
    "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type><firmware><feature enabled='no' name='enrolled-keys'/></firmware><loader readonly='yes' secure='no' type='pflash' stateless='no' format='qcow2'>/a</loader><nvram template='/t' templateFormat='raw' type='network' format='raw'><source protocol='nbd'><host name='h' port='1'/></source></nvram><kernel>/k</kernel><initrd>/i</initrd><cmdline>a &lt; b</cmdline><dtb>/d</dtb><shim>/s</shim><acpi><table type='slic'>/t</table></acpi><boot dev='hd'/><boot dev='fd'/><bootmenu enable='yes' timeout='3'/><bios useserial='yes' rebootTimeout='-1'/><smbios mode='host'/></os>",
  ],
  [
    'a container\u2019s os',
    "<os><type arch='x86_64'>exe</type><init>/sbin/init</init><initarg>-x</initarg><initenv name='A'>b</initenv><initdir>/</initdir><inituser>u</inituser><initgroup>g</initgroup></os>",
  ],
  [
    'features',
    "<features><acpi/><apic eoi='on'/><pae/><hap state='off'/><viridian/><privnet/><hyperv mode='custom'><relaxed state='on'/><spinlocks state='on' retries='4096'/><stimer state='on'><direct state='on'/></stimer><vendor_id state='on' value='x'/><tlbflush state='on'><direct state='on'/><extended state='off'/></tlbflush><emsr_bitmap state='on'/><xmm_input state='on'/></hyperv><kvm><hidden state='on'/><hint-dedicated state='on'/><dirty-ring state='on' size='4096'/></kvm><pvspinlock state='on'/><capabilities policy='allow'><mknod state='on'/></capabilities><pmu state='off'/><vmport state='off'/><gic version='3'/><smm state='on'><tseg unit='MiB'>48</tseg></smm><ioapic driver='qemu'/><hpt resizing='required'><maxpagesize unit='KiB'>1048576</maxpagesize></hpt><vmcoreinfo state='on'/><htm state='on'/><nested-hv state='off'/><msrs unknown='ignore'/><ccf-assist state='on'/><xen><e820_host state='on'/></xen><cfpc value='workaround'/><sbbc value='broken'/><ibs value='fixed-na'/><tcg><tb-cache unit='KiB'>1024</tb-cache></tcg><async-teardown enabled='yes'/><ras state='on'/><ps2 state='off'/><aia value='aplic'/></features>",
  ],
  [
    'clock',
    "<clock offset='variable' adjustment='-5' basis='localtime'><timer name='rtc' tickpolicy='catchup' track='guest'><catchup threshold='1' slew='2' limit='3'/></timer><timer name='tsc' frequency='4' mode='native'/><timer name='hpet' present='no'/></clock>",
  ],
  ['a clock that is reset', "<clock offset='utc' adjustment='reset'/>"],
  [
    'sysinfo',
    "<sysinfo type='smbios'><bios><entry name='vendor'>v</entry></bios><baseBoard><entry name='asset'>1</entry></baseBoard><baseBoard><entry name='asset'>2</entry></baseBoard><oemStrings><entry>x</entry></oemStrings></sysinfo><sysinfo type='fwcfg'><entry name='opt/a' file='/f'/></sysinfo>",
  ],
  [
    'SEV',
    "<launchSecurity type='sev' kernelHashes='yes'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0001</policy><dhCert>a</dhCert><session>b</session></launchSecurity>",
  ],
  [
    'SEV-SNP',
    "<launchSecurity type='sev-snp' authorKey='yes' vcek='no'><policy>0x00030000</policy><hostData>a</hostData></launchSecurity>",
  ],
  ['resource', "<resource><partition>/p</partition><fibrechannel appid='a b'/></resource>"],
  ['perf', "<perf><event name='cmt' enabled='yes'/></perf>"],
  [
    'labels',
    "<seclabel type='static' model='selinux' relabel='no'><label>a</label></seclabel><seclabel type='dynamic' model='dac' relabel='yes'><baselabel>b</baselabel></seclabel>",
  ],
  [
    'the qemu: namespace',
    "<qemu:commandline><qemu:arg value='-x'/><qemu:env name='A' value='b'/></qemu:commandline><qemu:capabilities><qemu:add capability='a'/><qemu:del capability='b'/></qemu:capabilities><qemu:override><qemu:device alias='net0'><qemu:frontend><qemu:property name='a' type='bool' value='true'/></qemu:frontend></qemu:device></qemu:override><qemu:deprecation behavior='omit'/>",
    QEMU,
  ],
  [
    'devices of the machine',
    "<devices><watchdog model='i6300esb' action='dump'><alias name='ua-w'/><address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/></watchdog><panic model='isa'><address type='isa' iobase='0x505'/></panic><iommu model='intel'><driver intremap='on' caching_mode='on' eim='off' iotlb='on' aw_bits='48' dma_translation='off'/></iommu><crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto><pstore backend='acpi-erst'><path>/p</path><size unit='KiB'>8</size></pstore></devices>",
  ],
];

describe('round trip', () => {
  it.each(RICH)('%s', (_name, body, attributes) => {
    expect(roundTrip(body, attributes === undefined ? '' : ` ${attributes}`)).toBe(body);
  });
});

describe('what reading refuses', () => {
  it.each([
    ['an unknown timer', "<clock offset='utc'><timer name='rtcc'/></clock>", /did you mean 'rtc'/],
    ['too few spins', "<features><hyperv><spinlocks state='on' retries='5'/></hyperv></features>", /4095/],
    ['an enlightenment without a state', '<features><hyperv><relaxed/></hyperv></features>', /lacks attribute 'state'/],
    ['a boot device that does not exist', "<os><boot dev='tape'/></os>", /one of fd, hd/],
    ['a static label without a label', "<seclabel type='static' model='dac'/>", /needs a <label>/],
    ['a dynamic label that labels nothing', "<seclabel model='dac' relabel='no'/>", /needs relabel='yes'/],
    [
      'an application id that is too long',
      `<resource><fibrechannel appid='${'a'.repeat(129)}'/></resource>`,
      /1 to 128/,
    ],
    [
      'a device label without a label',
      "<devices><disk><source file='/a'><seclabel model='dac' relabel='yes'/></source><target dev='a'/></disk></devices>",
      /has no <label>/,
    ],
  ])('%s', (_name, body, expected) => {
    const parse = (): unknown => parseDomain(`<domain type='kvm'>${body}</domain>`);
    expect(parse).toThrow(DefinitionError);
    expect(parse).toThrow(expected);
  });

  it('drops labels that only ever are output', () => {
    const { domain } = parseDomain(
      "<domain type='kvm'><devices><disk><source file='/a'><seclabel model='dac' labelskip='yes'/></source><target dev='a'/></disk></devices></domain>",
    );
    expect(domain.devices?.disks[0]?.source?.seclabels).toEqual([]);
  });
});
