/**
 * What this host has of security modules: read from the kernel's and the policy's files, which tests replace. Changes nothing.
 */
import { existsSync, readFileSync } from 'node:fs';

export interface SelinuxHost {
  /** The caller's own context. */
  readonly ownContext: string;
  /** Contexts of guests' processes: with KVM, and with emulation. */
  readonly kvmContext: string;
  readonly tcgContext: string;
  /** Contexts of files: one guest's own, and what guests only read. */
  readonly fileContext: string;
  readonly contentContext: string;
}

export interface AppArmorHost {
  /** The caller is confined itself: the sign by which libvirt tells that guests are meant to be. */
  readonly selfConfined: boolean;
  /** Where a process writes the profile that its next program is to have. */
  readonly attribute: string;
  /** libvirt's rules for every guest are installed. */
  readonly abstraction: boolean;
}

export interface HostSecurity {
  readonly selinux?: SelinuxHost | undefined;
  readonly apparmor?: AppArmorHost | undefined;
  /** Of the caller. */
  readonly uid: number;
  readonly gid: number;
}

export interface HostSecurityPlaces {
  readonly proc?: string;
  readonly sys?: string;
  readonly etc?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** Of Fedora's and Debian's policies, for those that do not say. */
const SELINUX_DEFAULTS = {
  process: ['system_u:system_r:svirt_t:s0', 'system_u:system_r:svirt_tcg_t:s0'],
  image: ['system_u:object_r:svirt_image_t:s0', 'system_u:object_r:virt_content_t:s0'],
} as const;

export function readHostSecurity(places: HostSecurityPlaces = {}): HostSecurity {
  const {
    proc = '/proc',
    sys = '/sys',
    etc = '/etc',
    uid = process.geteuid?.() ?? 0,
    gid = process.getegid?.() ?? 0,
  } = places;
  const selinux = readSelinux(proc, sys, etc);
  const apparmor = readAppArmor(proc, sys, etc);
  return { uid, gid, ...(selinux && { selinux }), ...(apparmor && { apparmor }) };
}

function readSelinux(proc: string, sys: string, etc: string): SelinuxHost | undefined {
  if (!existsSync(`${sys}/fs/selinux/enforce`)) return undefined;
  const policy = /^\s*SELINUXTYPE\s*=\s*(\S+)/m.exec(readOrEmpty(`${etc}/selinux/config`))?.[1] ?? 'targeted';
  const contexts = `${etc}/selinux/${policy}/contexts`;
  const [kvm, tcg] = linesOf(`${contexts}/virtual_domain_context`);
  const [file, content] = linesOf(`${contexts}/virtual_image_context`);
  const kvmContext = kvm ?? SELINUX_DEFAULTS.process[0];
  return {
    ownContext: readOrEmpty(`${proc}/self/attr/current`).replace(/\0.*$/s, '').trim(),
    kvmContext,
    // A policy with one line has one context for both.
    tcgContext: tcg ?? (kvm === undefined ? SELINUX_DEFAULTS.process[1] : kvmContext),
    fileContext: file ?? SELINUX_DEFAULTS.image[0],
    contentContext: content ?? SELINUX_DEFAULTS.image[1],
  };
}

function readAppArmor(proc: string, sys: string, etc: string): AppArmorHost | undefined {
  if (readOrEmpty(`${sys}/module/apparmor/parameters/enabled`).trim() !== 'Y') return undefined;
  // Since Linux 5.8 beside other modules' attributes; before, in the only place there was.
  const own = `${proc}/self/attr/apparmor`;
  const attributes = existsSync(own) ? own : `${proc}/self/attr`;
  const label = readOrEmpty(`${attributes}/current`).trim();
  return {
    selfConfined: label !== '' && label !== 'unconfined',
    attribute: existsSync(own) ? '/proc/self/attr/apparmor/exec' : '/proc/self/attr/exec',
    abstraction: existsSync(`${etc}/apparmor.d/abstractions/libvirt-qemu`),
  };
}

function linesOf(path: string): string[] {
  return readOrEmpty(path)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** Absent: not of this host. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
