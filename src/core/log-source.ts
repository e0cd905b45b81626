/**
 * Where the library says what it does. A source has one of libvirt's source names; what it says goes to whoever listens on the
 * channel, and costs one comparison when nobody does. Formatting, filters and outputs are not here but in `src/log`.
 */
import { channel } from 'node:diagnostics_channel';

/** libvirt's priorities (`virLogPriority`). */
export const LogLevel = { DEBUG: 1, INFO: 2, WARN: 3, ERROR: 4 } as const;
export type LogLevel = (typeof LogLevel)[keyof typeof LogLevel];

/** One message on its way to the outputs. */
export interface LogMessage {
  readonly source: LogSourceName;
  readonly level: LogLevel;
  /** The function that speaks. */
  readonly where: string;
  /** Evaluated by the receiver, and only if a filter lets it through. */
  readonly text: () => string;
}

/**
 * Every source there is, by libvirt's names, so that filters written for libvirt match: `1:qemu`, `1:util.command`,
 * `3:event`, `1:security`.
 */
export const LOG_SOURCES = [
  /** Every public API call. */
  'libvirt',
  'conf.domain_conf',
  'daemon.remote',
  'locking.lock_manager',
  'lxc.lxc_conf',
  'lxc.lxc_container',
  'lxc.lxc_driver',
  'lxc.lxc_process',
  'network.bridge_driver',
  'node_device.node_device_udev',
  'qemu.qemu_agent',
  'qemu.qemu_capabilities',
  'qemu.qemu_cgroup',
  'qemu.qemu_conf',
  'qemu.qemu_domain',
  'qemu.qemu_driver',
  'qemu.qemu_hotplug',
  'qemu.qemu_monitor',
  'qemu.qemu_monitor_json',
  'qemu.qemu_process',
  'rpc.keepalive',
  'rpc.netclient',
  'rpc.netserver',
  'rpc.netserverclient',
  'security.security_apparmor',
  'security.security_dac',
  'security.security_manager',
  'security.security_selinux',
  'storage.storage_driver',
  'util.cgroup',
  /** Every external command. */
  'util.command',
  'util.pci',
  'util.dbus',
  'util.event',
  'util.file',
  'util.firewall',
  'util.hook',
  'util.netdev',
  'util.process',
  'util.systemd',
] as const;
export type LogSourceName = (typeof LOG_SOURCES)[number];

/** The one channel; its messages are `LogMessage`s. */
export const LOG_CHANNEL = channel('nestling.log');

export class LogSource {
  readonly name: LogSourceName;

  constructor(name: LogSourceName) {
    this.name = name;
  }

  /** Somebody listens; for messages that take more than a closure to make. */
  get enabled(): boolean {
    return LOG_CHANNEL.hasSubscribers;
  }

  debug(where: string, text: () => string): void {
    if (LOG_CHANNEL.hasSubscribers) this.#send(LogLevel.DEBUG, where, text);
  }

  info(where: string, text: () => string): void {
    if (LOG_CHANNEL.hasSubscribers) this.#send(LogLevel.INFO, where, text);
  }

  warn(where: string, text: () => string): void {
    if (LOG_CHANNEL.hasSubscribers) this.#send(LogLevel.WARN, where, text);
  }

  error(where: string, text: () => string): void {
    if (LOG_CHANNEL.hasSubscribers) this.#send(LogLevel.ERROR, where, text);
  }

  #send(level: LogLevel, where: string, text: () => string): void {
    LOG_CHANNEL.publish({ source: this.name, level, where, text } satisfies LogMessage);
  }
}
