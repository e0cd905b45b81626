/**
 * Where a guest's files live: every on-disk name of the QEMU driver, explained in docs/state-layout.md. The
 * tree below the roots is the one that libvirt documents, so that paths look familiar wherever the root is.
 */

import { dirname } from 'node:path';

/** Roots of the tree. Absolute paths without a trailing slash. */
export interface LayoutRoots {
  /** Kept data: nvram, saved guests, channels (`/var/lib/libvirt/qemu`). */
  readonly lib: string;
  /** Runtime data: sockets, pid files, status (`/run/libvirt/qemu`). */
  readonly run: string;
  /** Private directories of running guests, with sockets in them (libvirt: below `lib`). */
  readonly domain: string;
  /** Logs (`/var/log/libvirt/qemu`). */
  readonly log: string;
  /** Definitions (`/etc/libvirt/qemu`). */
  readonly etc: string;
  /** swtpm state and logs (`/var/lib/libvirt/swtpm`, `/var/log/swtpm/libvirt/qemu`). */
  readonly swtpmLib: string;
  readonly swtpmLog: string;
}

/** libvirt's system tree. */
export const SYSTEM_ROOTS: LayoutRoots = {
  lib: '/var/lib/libvirt/qemu',
  run: '/var/run/libvirt/qemu',
  domain: '/var/lib/libvirt/qemu',
  log: '/var/log/libvirt/qemu',
  etc: '/etc/libvirt/qemu',
  swtpmLib: '/var/lib/libvirt/swtpm',
  swtpmLog: '/var/log/swtpm/libvirt/qemu',
};

/** Names below the roots. A domain's own directories carry its short name. */
export class Layout {
  readonly roots: LayoutRoots;

  constructor(roots: LayoutRoots) {
    this.roots = roots;
  }

  /** `ID-NAME`, the name cut to 20 characters, as libvirt's short name; names have no slash. */
  shortName(id: number, name: string): string {
    return `${id}-${Array.from(name).slice(0, 20).join('').replaceAll('/', '-')}`;
  }

  /** Private directory of a running guest (sockets, keys). */
  domainDir(id: number, name: string): string {
    return `${this.roots.domain}/domain-${this.shortName(id, name)}`;
  }

  /** Socket of a guest's own D-Bus, and the configuration of the daemon that serves it. */
  dbusSocket(id: number, name: string): string {
    return `${this.roots.run}/dbus/${this.shortName(id, name)}-dbus.sock`;
  }

  dbusConfig(id: number, name: string): string {
    return `${this.roots.run}/dbus/${this.shortName(id, name)}-dbus.conf`;
  }

  channelDir(id: number, name: string): string {
    return `${this.roots.run}/channel/${this.shortName(id, name)}`;
  }

  /** Definitions and values of secrets, beside the driver's own folder as with libvirt. */
  get secretsDir(): string {
    return `${dirname(this.roots.etc)}/secrets`;
  }

  /** Where a domain's state waits for its next start. */
  get managedSaveDir(): string {
    return `${this.roots.lib}/save`;
  }

  managedSaveFile(name: string): string {
    return `${this.managedSaveDir}/${name}.save`;
  }

  nvramFile(name: string): string {
    return `${this.roots.lib}/nvram/${name}_VARS.fd`;
  }

  /** Where a guest's TPM emulator listens. */
  tpmSocket(id: number, name: string): string {
    return `${this.roots.run}/swtpm/${this.shortName(id, name)}-swtpm.sock`;
  }

  /** A guest's emulated TPM, kept as long as its definition. */
  tpmStateDir(uuid: string, version: string): string {
    return `${this.roots.swtpmLib}/${uuid}/tpm${version === '2.0' ? '2' : '1.2'}`;
  }

  tpmLogFile(name: string): string {
    return `${this.roots.swtpmLog}/${name}-swtpm.log`;
  }

  logFile(name: string): string {
    return `${this.roots.log}/${name}.log`;
  }

  /** Everything that the guest's first console printed, from byte 0. */
  serialLogFile(name: string): string {
    return `${this.roots.log}/${name}-serial0.log`;
  }
}
