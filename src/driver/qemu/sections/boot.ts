/**
 * What the guest boots: order of devices, boot menu, a kernel given directly, ACPI tables. Firmware is in
 * `firmware.ts`.
 */
import { hasProperty } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';

type Domain = DomainContext['domain'];
type Bootable = { readonly boot?: { readonly order?: number | undefined } | undefined };

/**
 * QEMU's `bootindex` of a device: its own `<boot order>`, or its place in the list of `<boot dev>`, where the first
 * device of each kind in definition order stands for its kind.
 */
export function bootIndexOf(device: Bootable, { domain }: Pick<DomainContext, 'domain'>): number | undefined {
  return device.boot?.order ?? legacyOrder(domain).get(device);
}

/** A guest's boot devices as `<boot dev>` implies them. */
function legacyOrder(domain: Domain): Map<object, number> {
  const order = new Map<object, number>();
  domain.os?.boots.forEach(({ dev }, index) => {
    const device = dev === 'network' ? firstInterface(domain) : firstDisk(domain, dev);
    if (device !== undefined) order.set(device, index + 1);
  });
  return order;
}

function firstDisk({ devices }: Domain, dev: 'hd' | 'cdrom' | 'fd'): object | undefined {
  return devices?.disks.find(({ device = 'disk' }) => {
    if (dev === 'cdrom') return device === 'cdrom';
    return dev === 'fd' ? device === 'floppy' : device === 'disk' || device === 'lun';
  });
}

function firstInterface({ devices }: Domain): object | undefined {
  return devices?.interfaces[0];
}

/** `-boot`, the kernel and its kin, and ACPI tables. */
export function planBoot({ domain }: PlanContext): Part[] {
  const { os } = domain;
  const rebootTimeout = os?.bios?.rebootTimeout;
  const props = {
    menu: os?.bootmenu?.enable,
    'reboot-timeout': rebootTimeout,
    'splash-time': os?.bootmenu?.timeout,
    strict: true,
  };
  const parts: Part[] = [{ kind: 'keyval', option: 'boot', props }];
  const files = { kernel: os?.kernel, initrd: os?.initrd, append: os?.cmdline, dtb: os?.dtb, shim: os?.shim };
  for (const [option, value] of Object.entries(files)) {
    if (value !== undefined) parts.push({ kind: 'option', option, value });
  }
  for (const { type, value } of os?.acpi?.tables ?? []) {
    const sig = type === 'slic' || type === 'msdm' ? type.toUpperCase() : undefined;
    parts.push({ kind: 'keyval', option: 'acpitable', props: { sig, file: value } });
  }
  return parts;
}

/** A guest for which nothing is said boots from its disk. */
export function fillBootDefaults({ domain }: DomainContext): void {
  const { os } = domain;
  // Without a menu nobody waits for it.
  if (os?.bootmenu?.enable !== true) delete os?.bootmenu?.timeout;
  if (os === undefined || os.boots.length > 0 || os.type?.value !== 'hvm') return;
  if (bootableDevices(domain).some(({ boot }) => boot?.order !== undefined)) return;
  os.boots.push({ dev: 'hd' });
}

/** Contradictions in the boot order, and what QEMU cannot boot. */
export function validateBoot(context: DomainContext): void {
  const { domain } = context;
  validateOrder(context);
  const { os } = domain;
  if (domain.bootloader !== undefined) fault(context, domain, 'QEMU starts no <bootloader>: remove it', 'bootloader');
  if (os?.shim !== undefined) {
    if (os.kernel === undefined) fault(context, os, '<shim> is for a <kernel>: add one, or remove it', 'shim');
    else if (!hasProperty(context.caps, 'none-machine', 'shim')) {
      fault(context, os, 'this QEMU has no -shim: use QEMU 10.0 or newer, or remove it', 'shim');
    }
  }
  if (os?.bios?.useserial === true && (context.domain.devices?.serials ?? []).length === 0) {
    fault(context, os.bios, "useserial='yes' needs a serial port: add <serial type='pty'/>", '@useserial');
  }
  if (os?.bios?.rebootTimeout !== undefined && os.bios.rebootTimeout > 65535) {
    fault(context, os.bios, 'the reboot timeout ends at 65535 ms', '@rebootTimeout');
  }
  const tables = new Set<string>();
  for (const table of os?.acpi?.tables ?? []) {
    if (table.type === 'rawset') fault(context, table, "QEMU takes ACPI tables one by one: use type='raw'", '@type');
    if ((table.value ?? '') === '') fault(context, table, 'an ACPI table needs the path of its file');
    if (table.type !== 'raw' && tables.has(table.type)) {
      fault(context, table, `there is an ACPI table of type '${table.type}' already`, '@type');
    }
    tables.add(table.type);
  }
}

function validateOrder(context: DomainContext): void {
  const seen = new Set<number>();
  for (const { boot } of bootableDevices(context.domain)) {
    if (boot?.order === undefined) continue;
    if (seen.has(boot.order))
      fault(context, boot, `boot order ${boot.order} is used by more than one device`, '@order');
    seen.add(boot.order);
  }
  const os = context.domain.os;
  if (seen.size > 0 && os !== undefined && os.boots.length > 0) {
    fault(context, os, "<boot dev> and devices' own <boot order> exclude each other: keep one of them", 'boot');
  }
}

/** All devices that may carry `<boot order>`. */
function bootableDevices({ devices }: Domain): Bootable[] {
  if (devices === undefined) return [];
  const all: object[] = [
    ...devices.disks,
    ...devices.interfaces,
    ...devices.hostdevs,
    ...devices.redirdevs,
    ...devices.filesystems,
    ...devices.smartcards,
  ];
  return all;
}
