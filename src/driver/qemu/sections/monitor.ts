/**
 * `-mon`: QEMU's control channel, over a socket pair that QEMU inherits, so that nothing is left in the file system,
 * or over a socket that the next daemon finds. With it
 * the master key that encrypts all of a guest's secrets, read by QEMU from an inherited descriptor.
 */
import type { PlanContext } from '../context.ts';
import { MASTER_KEY_ID } from '../devices/secret.ts';
import type { Part } from '../plan/parts.ts';

/** Name of the monitor's socket pair among a plan's descriptors. */
export const MONITOR_STREAM = 'monitor';

/** The monitor's chardev and its control mode. The runtime finds its descriptor by name. */
export function planMonitor(context: PlanContext): Part[] {
  const { monitorSocket } = context;
  const fd = context.requestFd(
    monitorSocket === undefined
      ? { kind: 'socketpair', name: MONITOR_STREAM }
      : { kind: 'listen-unix', path: monitorSocket },
  );
  const listening = monitorSocket === undefined ? {} : { server: true, wait: false };
  return [
    { kind: 'chardev', props: { backend: 'socket', id: 'charmonitor', fd, ...listening } },
    { kind: 'keyval', option: 'mon', props: { chardev: 'charmonitor', id: 'monitor', mode: 'control' } },
  ];
}

/** The master key's object; secrets refer to it, those of hot-plugged devices too. */
export function planMasterKey(context: PlanContext): Part[] {
  const fd = context.requestFd({ kind: 'master-key' });
  const props = { 'qom-type': 'secret', id: MASTER_KEY_ID, format: 'raw', file: `/dev/fd/${fd}` };
  return [{ kind: 'object', props }];
}
