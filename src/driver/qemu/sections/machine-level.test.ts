import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, type PlanHost, planContext } from '../../../../tests/support/plan-context.ts';
import { fillMachineDefaults } from '../definition/machine-defaults.ts';
import type { Part } from '../plan/parts.ts';
import { renderPart } from '../plan/render.ts';
import { planAccel } from './accel.ts';
import { bootIndexOf, planBoot } from './boot.ts';
import { planClock } from './clock.ts';
import { cpuFeatureProps } from './cpu-features.ts';
import { planFeatures } from './features.ts';
import { planLaunchSecurity } from './launch-security.ts';
import { validateMachineLevel } from './machine-level.ts';
import { planName } from './name.ts';
import { planLifecycle, planPowerManagement } from './pm.ts';
import { planDeprecation, planMessages, planSandbox } from './process.ts';
import { applyOverrides, planQemuCommandline } from './qemu-commandline.ts';
import { planSysinfo } from './sysinfo.ts';

type Plan = (context: ReturnType<typeof planContext>) => Part[];

/** The arguments that one section makes of a completed definition. */
function argumentsOf(plan: Plan, body: string, host: PlanHost & { type?: string } = {}): string[] {
  const { type, ...rest } = host;
  const context = planContext(domainXml(body, type), rest);
  fillMachineDefaults(context);
  return plan(context).flatMap((part) => renderPart(part, context.caps));
}

/** What is refused of a completed definition. */
function refusals(body: string, host: PlanHost & { type?: string } = {}): string[] {
  const { type, ...rest } = host;
  const context = planContext(domainXml(body, type), rest);
  fillMachineDefaults(context);
  validateMachineLevel(context);
  return faultsOf(context);
}

const Q35 = "<os><type machine='q35'>hvm</type></os>";
const MACHINE = { properties: { 'generic-pc-machine': ['hpet', 'i8042'], mch: ['extended-tseg-mbytes'] } } as const;

describe('defaults of the machine', () => {
  it('fills in what a bare definition leaves out, by canonical names', () => {
    const context = planContext(domainXml(''));
    fillMachineDefaults(context);
    const { domain } = context;
    expect(domain.os?.type).toEqual({ value: 'hvm', arch: 'x86_64', machine: 'pc-i440fx-10.0' });
    expect(domain.os?.boots).toEqual([{ dev: 'hd' }]);
    expect(domain.clock).toEqual({ offset: 'utc', timers: [] });
    expect([domain.onPoweroff, domain.onReboot, domain.onCrash]).toEqual(['destroy', 'restart', 'destroy']);
    expect(domain.devices?.emulator).toBe('/usr/bin/qemu-system-x86_64');
  });

  it('keeps the machine that an alias means today', () => {
    const context = planContext(domainXml(Q35));
    fillMachineDefaults(context);
    expect(context.domain.os?.type?.machine).toBe('pc-q35-10.0');
  });

  it('makes identifiers of the random bytes it is given', () => {
    const randomBytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, index) => index);
    const context = planContext(domainXml('<genid/>'), { randomBytes });
    fillMachineDefaults(context);
    expect(context.domain.genid?.value).toBe('00010203-0405-4607-8809-0a0b0c0d0e0f');
    expect(context.domain.uuid).toBe('00010203-0405-4607-8809-0a0b0c0d0e0f');
  });

  it('adds no boot device where devices have an order of their own', () => {
    const context = planContext(domainXml("<devices><disk><target dev='vda'/><boot order='2'/></disk></devices>"));
    fillMachineDefaults(context);
    expect(context.domain.os?.boots).toEqual([]);
  });

  it('gives guests with many processors an IOMMU that can address them', () => {
    const context = planContext(domainXml(`${Q35}<vcpu>300</vcpu>`, 'kvm'));
    fillMachineDefaults(context);
    expect(context.domain.devices?.iommus).toEqual([{ model: 'intel', driver: { intremap: true, eim: true } }]);
    expect(context.domain.features?.ioapic).toEqual({ driver: 'qemu' });
  });
});

describe('sections', () => {
  const cases: [string, Plan, string, PlanHost & { type?: string }, string[]][] = [
    [
      'name',
      planName,
      '',
      { caps: { options: { name: ['debug-threads'] } } },
      ['-name', 'guest=guest,debug-threads=on'],
    ],
    ['KVM', planAccel, '', { type: 'kvm' }, ['-accel', 'kvm']],
    [
      'dirty ring',
      planAccel,
      "<features><kvm><dirty-ring state='on' size='4096'/></kvm></features>",
      { type: 'kvm' },
      ['-accel', 'kvm,dirty-ring-size=4096'],
    ],
    [
      'TB cache',
      planAccel,
      "<features><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>",
      {},
      ['-accel', 'tcg,tb-size=64'],
    ],
    ['UTC', planClock, '', {}, ['-rtc', 'base=utc']],
    ['time zone', planClock, "<clock offset='timezone' timezone='Europe/Paris'/>", {}, ['-rtc', 'base=localtime']],
    ['absolute', planClock, "<clock offset='absolute' start='1000000000'/>", {}, ['-rtc', 'base=2001-09-09T01:46:40']],
    [
      'variable in local time',
      planClock,
      "<clock offset='localtime' adjustment='60'/>",
      { hostClock: { nowMs: 1_000_000_000_000, utcOffsetSeconds: 3600 } },
      ['-rtc', 'base=2001-09-09T02:47:40'],
    ],
    [
      'timers',
      planClock,
      "<clock offset='utc'><timer name='rtc' track='wall' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/></clock>",
      { caps: { properties: { 'kvm-pit': ['lost_tick_policy'] } } },
      ['-rtc', 'base=utc,clock=host,driftfix=slew', '-global', 'kvm-pit.lost_tick_policy=delay'],
    ],
    [
      'HPET off, old QEMU',
      planClock,
      "<clock offset='utc'><timer name='hpet' present='no'/></clock>",
      {},
      ['-rtc', 'base=utc', '-no-hpet'],
    ],
    ['boot', planBoot, '', {}, ['-boot', 'strict=on']],
    [
      'boot menu',
      planBoot,
      "<os><bootmenu enable='yes' timeout='3000'/><bios rebootTimeout='-1'/></os>",
      {},
      ['-boot', 'menu=on,reboot-timeout=-1,splash-time=3000,strict=on'],
    ],
    [
      'kernel',
      planBoot,
      '<os><kernel>/k,1</kernel><initrd>/i</initrd><cmdline>a=b,c -x</cmdline></os>',
      {},
      ['-boot', 'strict=on', '-kernel', '/k,1', '-initrd', '/i', '-append', 'a=b,c -x'],
    ],
    [
      'ACPI tables with commas in their names',
      planBoot,
      "<os><acpi><table type='slic'>/t,sig=X</table><table type='raw'>/r</table></acpi></os>",
      {},
      ['-boot', 'strict=on', '-acpitable', 'sig=SLIC,file=/t,,sig=X', '-acpitable', 'file=/r'],
    ],
    [
      'S3 on i440fx',
      planPowerManagement,
      "<pm><suspend-to-mem enabled='no'/></pm>",
      {},
      ['-global', 'PIIX4_PM.disable_s3=1'],
    ],
    [
      'S4 on q35',
      planPowerManagement,
      `${Q35}<pm><suspend-to-disk enabled='yes'/></pm>`,
      {},
      ['-global', 'ICH9-LPC.disable_s4=0'],
    ],
    ['no reboot, old QEMU', planLifecycle, '<on_reboot>destroy</on_reboot>', {}, ['-no-reboot']],
    [
      'TSEG',
      planFeatures,
      `${Q35}<features><smm state='on'><tseg>48</tseg></smm></features>`,
      {},
      ['-global', 'mch.extended-tseg-mbytes=48'],
    ],
    ['vmcoreinfo', planFeatures, '<features><vmcoreinfo/></features>', {}, ['-device', 'vmcoreinfo']],
    [
      'SMBIOS with commas',
      planSysinfo,
      "<sysinfo type='smbios'><system><entry name='family'>f</entry><entry name='product'>a,b</entry></system><baseBoard><entry name='asset'>1</entry></baseBoard><baseBoard><entry name='asset'>2</entry></baseBoard><oemStrings><entry>x</entry><entry>y,z</entry></oemStrings></sysinfo><os><smbios mode='sysinfo'/></os>",
      {},
      [
        '-smbios',
        'type=1,product=a,,b,family=f',
        '-smbios',
        'type=2,asset=1',
        '-smbios',
        'type=2,asset=2',
        '-smbios',
        'type=11,value=x,value=y,,z',
      ],
    ],
    [
      'fw_cfg with commas',
      planSysinfo,
      "<sysinfo type='fwcfg'><entry name='opt/a'>v,file=/etc/shadow</entry><entry name='opt/b' file='/f,x'/></sysinfo>",
      {},
      ['-fw_cfg', 'name=opt/a,string=v,,file=/etc/shadow', '-fw_cfg', 'name=opt/b,file=/f,,x'],
    ],
    [
      'sandbox',
      planSandbox,
      '',
      { caps: { options: { sandbox: ['enable'] } } },
      ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ],
    [
      'sandbox switched off',
      planSandbox,
      '',
      { caps: { options: { sandbox: [] } }, config: { seccompSandbox: 0 } },
      ['-sandbox', 'off'],
    ],
    ['messages', planMessages, '', { caps: { options: { msg: ['timestamp'] } } }, ['-msg', 'timestamp=on']],
    [
      'the user\u2019s own words',
      planQemuCommandline,
      "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-x'/><arg value='a,b c'/></commandline>",
      {},
      ['-x', 'a,b c'],
    ],
    [
      'deprecation',
      planDeprecation,
      "<q:deprecation xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' behavior='crash'/>",
      { caps: { options: { compat: [] } } },
      ['-compat', 'deprecated-output=hide,deprecated-input=crash'],
    ],
  ];
  it.each(cases)('%s', (_name, plan, body, host, expected) => {
    expect(argumentsOf(plan, body, host)).toEqual(expected);
  });

  it('no sooner than in QEMU 6 is a reboot made a shutdown by command', () => {
    const context = planContext(domainXml('<on_reboot>destroy</on_reboot>'), { caps: { features: ['set-action'] } });
    fillMachineDefaults(context);
    expect(planLifecycle(context)).toEqual([{ kind: 'option', option: 'no-shutdown' }]);
    expect(context.deferred).toEqual([{ command: 'set-action', arguments: { reboot: 'shutdown' } }]);
  });

  it('sets the guest\u2019s time zone for QEMU', () => {
    const context = planContext(domainXml("<clock offset='timezone' timezone='Asia/Tokyo'/>"));
    planClock(context);
    expect(context.environment).toEqual({ TZ: 'Asia/Tokyo' });
  });

  it('keeps launch blobs out of the arguments', () => {
    const context = planContext(
      domainXml(
        "<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0001</policy><session>c2VjcmV0</session></launchSecurity>",
        'kvm',
      ),
    );
    const [part] = planLaunchSecurity(context);
    expect(JSON.stringify(part)).not.toContain('c2VjcmV0');
    expect(context.files).toMatchObject([{ path: `${context.domainDir}/session.base64`, content: 'c2VjcmV0' }]);
  });

  it('changes properties of planned devices', () => {
    const context = planContext(
      domainXml(
        "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='net0'><q:frontend><q:property name='mtu' type='unsigned' value='1400'/><q:property name='mac' type='remove'/></q:frontend></q:device></q:override>",
      ),
    );
    const device: Part = { kind: 'device', props: { driver: 'e1000', id: 'net0', mac: 'x' } };
    expect(applyOverrides([device], context)).toEqual([
      { kind: 'device', props: { driver: 'e1000', id: 'net0', mtu: 1400 } },
    ]);
  });
});

describe('boot order', () => {
  it('gives the first device of each kind its place in the list', () => {
    const context = planContext(
      domainXml(
        "<os><boot dev='cdrom'/><boot dev='network'/><boot dev='hd'/></os><devices><disk><target dev='vda'/></disk><disk device='cdrom'><target dev='sda'/></disk><disk><target dev='vdb'/></disk><interface type='user'/></devices>",
      ),
    );
    const { disks, interfaces } = context.domain.devices ?? { disks: [], interfaces: [] };
    const order = [...disks, ...interfaces].map((device) => bootIndexOf(device, context));
    expect(order).toEqual([3, 1, undefined, 2]);
  });

  it('takes a device\u2019s own order', () => {
    const context = planContext(domainXml("<devices><disk><target dev='vda'/><boot order='7'/></disk></devices>"));
    const [disk] = context.domain.devices?.disks ?? [];
    expect(disk && bootIndexOf(disk, context)).toBe(7);
  });
});

describe('processor properties that features decide', () => {
  it('writes them in libvirt\u2019s order, and only what differs from the default', () => {
    const { domain } = planContext(
      domainXml(
        "<features><apic eoi='on'/><hyperv><relaxed state='on'/><vapic state='off'/><spinlocks state='on' retries='8191'/><stimer state='on'><direct state='on'/></stimer><vendor_id state='on' value='me'/></hyperv><kvm><hidden state='on'/><pv-ipi state='on'/></kvm><pmu/></features><clock offset='utc'><timer name='hypervclock' present='yes'/><timer name='tsc' frequency='3000'/></clock>",
      ),
    );
    expect(JSON.stringify(cpuFeatureProps({ domain }))).toBe(
      JSON.stringify({
        'hv-time': true,
        'tsc-frequency': 3000,
        'kvm-pv-eoi': true,
        'hv-relaxed': true,
        'hv-spinlocks': '0x1fff',
        'hv-stimer': true,
        'hv-stimer-direct': true,
        'hv-vendor-id': 'me',
        kvm: false,
        pmu: true,
      }),
    );
  });

  it('passes all enlightenments through', () => {
    const { domain } = planContext(domainXml("<features><hyperv mode='passthrough'/></features>"));
    expect(cpuFeatureProps({ domain })).toMatchObject({ 'hv-passthrough': true });
  });
});

describe('refusals', () => {
  const cases: [string, string, (PlanHost & { type?: string }) | undefined, RegExp][] = [
    ['a foreign hypervisor', '', { type: 'hvf' }, /does not run type 'hvf'/],
    ['a machine that QEMU lacks', "<os><type machine='pc-9.9'>hvm</type></os>", undefined, /no machine type 'pc-9\.9'/],
    ['another architecture', "<os><type arch='aarch64'>hvm</type></os>", undefined, /emulates x86_64, not aarch64/],
    ['containers', '<os><type>exe</type></os>', undefined, /not 'exe'/],
    ['TSEG on i440fx', "<features><smm state='on'><tseg>48</tseg></smm></features>", { caps: MACHINE }, /needs a q35/],
    [
      'vmport without PS/2',
      "<features><vmport state='on'/><ps2 state='off'/></features>",
      { caps: MACHINE },
      /<vmport> works through/,
    ],
    ['TCG features under KVM', '<features><tcg/></features>', { type: 'kvm' }, /needs type='qemu'/],
    ['a GIC on x86', "<features><gic version='3'/></features>", undefined, /needs ARM's 'virt' machine/],
    [
      'a long vendor id',
      "<features><hyperv><vendor_id state='on' value='0123456789abc'/></hyperv></features>",
      undefined,
      /12 characters/,
    ],
    ['the platform timer', "<clock offset='utc'><timer name='platform'/></clock>", undefined, /no timer 'platform'/],
    ['track=boot', "<clock offset='utc'><timer name='rtc' track='boot'/></clock>", undefined, /track='boot'/],
    [
      'two boot orders',
      "<os><boot dev='hd'/></os><devices><disk><target dev='a'/><boot order='1'/></disk></devices>",
      undefined,
      /exclude each other/,
    ],
    [
      'the same order twice',
      "<devices><disk><target dev='a'/><boot order='1'/></disk><disk><target dev='b'/><boot order='1'/></disk></devices>",
      undefined,
      /used by more than one device/,
    ],
    ['rename-restart', '<on_crash>rename-restart</on_crash>', undefined, /rename-restart/],
    ['a core dump at poweroff', '<on_poweroff>coredump-destroy</on_poweroff>', undefined, /<on_crash> only/],
    ['SMBIOS strings that are not there', "<os><smbios mode='sysinfo'/></os>", undefined, /needs a <sysinfo/],
    [
      'reserved fw_cfg names',
      "<sysinfo type='fwcfg'><entry name='opt/ovmf/x'>1</entry></sysinfo>",
      undefined,
      /reserved name/,
    ],
    [
      'another UUID in SMBIOS',
      "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><sysinfo type='smbios'><system><entry name='uuid'>d7a5fdbd-edaf-9455-926a-d65c16db1809</entry></system></sysinfo>",
      undefined,
      /differs from the domain's/,
    ],
    [
      'confidential guests that QEMU lacks',
      "<launchSecurity type='sev'><policy>0x1</policy></launchSecurity>",
      undefined,
      /no confidential guests/,
    ],
    [
      'labels without models',
      "<seclabel type='none'/><seclabel type='dynamic' model='dac'/>",
      undefined,
      /need a model each/,
    ],
    ['a bootloader', '<bootloader>/usr/bin/pygrub</bootloader>', undefined, /no <bootloader>/],
    ['a shim without a kernel', '<os><shim>/s</shim></os>', undefined, /<shim> is for a <kernel>/],
  ];
  it.each(cases)('%s', (_name, body, host, expected) => {
    expect(refusals(body, host)).toEqual([expect.stringMatching(expected)]);
  });

  it('nothing of an ordinary definition', () => {
    const body = `<genid/>${Q35}<features><acpi/><apic/><pae/><vmport state='off'/></features><clock offset='utc'><timer name='hpet' present='no'/></clock><pm><suspend-to-mem enabled='no'/></pm>`;
    const caps = { types: ['vmgenid'], properties: { ...MACHINE.properties, 'ICH9-LPC': ['disable_s3'] } };
    expect(refusals(body, { caps })).toEqual([]);
  });
});
