/**
 * Domain XML for tests: the few things that tests vary, as parameters. It knows only what most tests need; anything else goes
 * into `devices` or `extra` as text.
 */

export interface TestDisk {
  path: string;
  /** Default `virtio`. */
  bus?: 'virtio' | 'sata' | 'ide' | 'scsi' | 'usb' | 'fdc';
  /** Default `raw`. */
  format?: 'raw' | 'qcow2';
  /** Default the first free name of the bus: `vda`, `sda`, … */
  target?: string;
  /** Needed to share one image between guests; not every bus can do it (sata and ide cannot). */
  readonly?: boolean;
}

export type TestSerial =
  | { type: 'pty' | 'stdio' | 'null' }
  | { type: 'file'; path: string }
  | { type: 'unix'; path: string };

export interface TestDomain {
  name?: string;
  uuid?: string;
  memoryMiB?: number;
  vcpus?: number;
  /** `tcg` (default) is `type='qemu'`. */
  accel?: 'tcg' | 'kvm';
  machine?: string;
  arch?: string;
  emulator?: string;
  disks?: readonly TestDisk[];
  kernel?: string;
  initrd?: string;
  cmdline?: string;
  /** Default `pty`. */
  serial?: TestSerial;
  onPoweroff?: string;
  onReboot?: string;
  onCrash?: string;
  /** XML of more devices. */
  devices?: string;
  /** XML of more children of `<domain>`. */
  extra?: string;
}

const DISK_PREFIX = { virtio: 'vd', sata: 'sd', scsi: 'sd', usb: 'sd', ide: 'hd', fdc: 'fd' } as const;

/** A domain that boots `disks` or `kernel`, with ACPI (without it no guest can power off) and no graphics. */
export function domainXml(domain: TestDomain = {}): string {
  const { memoryMiB = 64, vcpus = 1, accel = 'tcg', machine = 'q35', arch = 'x86_64' } = domain;
  const lines = [
    `<domain type='${accel === 'kvm' ? 'kvm' : 'qemu'}'>`,
    `  <name>${escapeXml(domain.name ?? 'nestling-test')}</name>`,
    optional('uuid', domain.uuid).slice(2),
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    `  <vcpu>${vcpus}</vcpu>`,
    `  <os>`,
    `    <type arch='${arch}' machine='${escapeXml(machine)}'>hvm</type>`,
    optional('kernel', domain.kernel),
    optional('initrd', domain.initrd),
    optional('cmdline', domain.cmdline),
    `  </os>`,
    `  <features>`,
    `    <acpi/>`,
    `  </features>`,
    optional('on_poweroff', domain.onPoweroff).slice(2),
    optional('on_reboot', domain.onReboot).slice(2),
    optional('on_crash', domain.onCrash).slice(2),
    `  <devices>`,
    optional('emulator', domain.emulator),
    ...diskLines(domain.disks ?? []),
    ...serialLines(domain.serial ?? { type: 'pty' }),
    `    <memballoon model='none'/>`,
    domain.devices ?? '',
    `  </devices>`,
    domain.extra ?? '',
    `</domain>`,
  ];
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}

function optional(name: string, value: string | undefined): string {
  return value === undefined ? '' : `    <${name}>${escapeXml(value)}</${name}>`;
}

function diskLines(disks: readonly TestDisk[]): string[] {
  const used = new Map<string, number>();
  return disks.flatMap(({ path, bus = 'virtio', format = 'raw', target, readonly = false }) => {
    const prefix = DISK_PREFIX[bus];
    const index = used.get(prefix) ?? 0;
    used.set(prefix, index + 1);
    const name = target ?? `${prefix}${String.fromCharCode('a'.charCodeAt(0) + index)}`;
    return [
      `    <disk type='file' device='${bus === 'fdc' ? 'floppy' : 'disk'}'>`,
      `      <driver name='qemu' type='${format}'/>`,
      `      <source file='${escapeXml(path)}'/>`,
      `      <target dev='${name}' bus='${bus}'/>`,
      readonly ? `      <readonly/>` : '',
      `    </disk>`,
    ];
  });
}

function serialLines(serial: TestSerial): string[] {
  const source = {
    file: (path: string) => `      <source path='${escapeXml(path)}'/>`,
    unix: (path: string) => `      <source mode='bind' path='${escapeXml(path)}'/>`,
  };
  return [
    `    <serial type='${serial.type}'>`,
    'path' in serial ? source[serial.type](serial.path) : '',
    `      <target port='0'/>`,
    `    </serial>`,
  ];
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
};

/** For text and attribute values. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>'"]/g, (character) => ENTITIES[character] ?? character);
}
