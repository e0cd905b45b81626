/** `<features>`: what the machine and its hypervisor interfaces offer, in libvirt's order. A flag is present or not. */
import { attr, child, flag, type Infer, required, struct, withDefault } from '../schema/schema.ts';
import { sizeBytes, sizeKiB } from '../schema/sizes.ts';
import { integer, oneOf, onOff, text, uint, yesNo } from '../schema/values.ts';

/** `<x state='on|off'/>` where the state may be left out and then means on. */
const optionalState = struct(() => ({ state: attr(onOff) }));
const state = struct(() => ({ state: required(attr(onOff)) }));

const stimer = struct(() => ({ state: required(attr(onOff)), direct: child(state) }));
const tlbflush = struct(() => ({ state: required(attr(onOff)), direct: child(state), extended: child(state) }));

/** Hyper-V enlightenments. */
const hyperv = struct(() => ({
  mode: attr(oneOf('custom', 'passthrough')),
  relaxed: child(state),
  vapic: child(state),
  spinlocks: child(struct({ state: required(attr(onOff)), retries: attr(integer({ min: 4095, max: 0xffff_ffff })) })),
  vpindex: child(state),
  runtime: child(state),
  synic: child(state),
  stimer: child(stimer),
  reset: child(state),
  vendorId: child(struct({ state: required(attr(onOff)), value: attr(text) }), 'vendor_id'),
  frequencies: child(state),
  reenlightenment: child(state),
  tlbflush: child(tlbflush),
  ipi: child(state),
  evmcs: child(state),
  avic: child(state),
  emsrBitmap: child(state, 'emsr_bitmap'),
  xmmInput: child(state, 'xmm_input'),
}));
export interface Hyperv extends Infer<typeof hyperv> {}

const kvm = struct(() => ({
  hidden: child(state),
  hintDedicated: child(state, 'hint-dedicated'),
  pollControl: child(state, 'poll-control'),
  pvIpi: child(state, 'pv-ipi'),
  dirtyRing: child(struct({ state: required(attr(onOff)), size: attr(uint) }), 'dirty-ring'),
}));
export interface KvmFeatures extends Infer<typeof kvm> {}

const xen = struct(() => ({
  e820Host: child(state, 'e820_host'),
  passthrough: child(struct({ state: required(attr(onOff)), mode: attr(oneOf('sync_pt', 'share_pt')) })),
}));

/** One that is named and says nothing more is on. */
const capability = struct(() => ({ state: withDefault(attr(onOff), true) }));

/** One row for each Linux capability that libvirt knows by name. */
const CAPABILITY_FIELDS = {
  auditControl: child(capability, 'audit_control'),
  auditWrite: child(capability, 'audit_write'),
  blockSuspend: child(capability, 'block_suspend'),
  chown: child(capability),
  dacOverride: child(capability, 'dac_override'),
  dacReadSearch: child(capability, 'dac_read_search'),
  fowner: child(capability),
  fsetid: child(capability),
  ipcLock: child(capability, 'ipc_lock'),
  ipcOwner: child(capability, 'ipc_owner'),
  kill: child(capability),
  lease: child(capability),
  linuxImmutable: child(capability, 'linux_immutable'),
  macAdmin: child(capability, 'mac_admin'),
  macOverride: child(capability, 'mac_override'),
  mknod: child(capability),
  netAdmin: child(capability, 'net_admin'),
  netBindService: child(capability, 'net_bind_service'),
  netBroadcast: child(capability, 'net_broadcast'),
  netRaw: child(capability, 'net_raw'),
  setgid: child(capability),
  setfcap: child(capability),
  setpcap: child(capability),
  setuid: child(capability),
  sysAdmin: child(capability, 'sys_admin'),
  sysBoot: child(capability, 'sys_boot'),
  sysChroot: child(capability, 'sys_chroot'),
  sysModule: child(capability, 'sys_module'),
  sysNice: child(capability, 'sys_nice'),
  sysPacct: child(capability, 'sys_pacct'),
  sysPtrace: child(capability, 'sys_ptrace'),
  sysRawio: child(capability, 'sys_rawio'),
  sysResource: child(capability, 'sys_resource'),
  sysTime: child(capability, 'sys_time'),
  sysTtyConfig: child(capability, 'sys_tty_config'),
  syslog: child(capability),
  wakeAlarm: child(capability, 'wake_alarm'),
};

/** Linux capabilities of a container's processes. */
const capabilities = struct(() => ({ policy: attr(oneOf('default', 'allow', 'deny')), ...CAPABILITY_FIELDS }));

/** Names of capabilities as properties; those of the XML and the kernel by `kernelCapability`. */
export type CapabilityName = keyof typeof CAPABILITY_FIELDS;
export const CAPABILITY_NAMES = Object.keys(CAPABILITY_FIELDS) as readonly CapabilityName[];

/** `sysModule` → `sys_module`. */
export function kernelCapability(name: CapabilityName): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Size of system management memory; a bare number is MiB. In bytes. */
const smm = struct(() => ({ state: attr(onOff), tseg: child(sizeBytes('MiB', 'MiB')) }));
const hpt = struct(() => ({
  resizing: attr(oneOf('enabled', 'disabled', 'required')),
  maxpagesize: child(sizeKiB()),
}));
const mitigation = oneOf('broken', 'workaround', 'fixed');

export const features = struct(() => ({
  acpi: flag(),
  apic: child(struct({ eoi: attr(onOff) })),
  pae: flag(),
  hap: child(optionalState),
  viridian: flag(),
  privnet: flag(),
  hyperv: child(hyperv),
  kvm: child(kvm),
  pvspinlock: child(optionalState),
  capabilities: child(capabilities),
  pmu: child(optionalState),
  vmport: child(optionalState),
  gic: child(struct({ version: attr(oneOf('2', '3', 'host')) })),
  smm: child(smm),
  ioapic: child(struct({ driver: attr(oneOf('qemu', 'kvm')) })),
  hpt: child(hpt),
  vmcoreinfo: child(optionalState),
  htm: child(state),
  nestedHv: child(state, 'nested-hv'),
  msrs: child(struct({ unknown: required(attr(oneOf('ignore', 'fault'))) })),
  ccfAssist: child(state, 'ccf-assist'),
  xen: child(xen),
  cfpc: child(struct({ value: required(attr(mitigation)) })),
  sbbc: child(struct({ value: required(attr(mitigation)) })),
  ibs: child(struct({ value: required(attr(oneOf('broken', 'workaround', 'fixed-ibs', 'fixed-ccd', 'fixed-na'))) })),
  tcg: child(struct({ tbCache: child(sizeKiB(), 'tb-cache') })),
  asyncTeardown: child(struct({ enabled: attr(yesNo) }), 'async-teardown'),
  ras: child(state),
  ps2: child(state),
  aia: child(struct({ value: required(attr(oneOf('none', 'aplic', 'aplic-imsic'))) })),
}));
export interface Features extends Infer<typeof features> {}
