/** Watchdog devices, and what happens when one expires. */
import type { Watchdog } from '../../../../model/domain/devices/watchdog.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';

export function planWatchdog(watchdog: Watchdog, context: PlanContext): Part[] {
  const parts = [planDevice(watchdog, context)];
  // QEMU has one action for all watchdogs: the first one's.
  if (context.domain.devices?.watchdogs[0] === watchdog) {
    parts.push({ kind: 'option', option: 'watchdog-action', value: qemuAction(watchdog) });
  }
  return parts;
}

function planDevice(watchdog: Watchdog, context: PlanContext): Part {
  // Part of the q35 chipset, where it is switched off by default.
  if (watchdog.model === 'itco') return { kind: 'option', option: 'global', value: 'ICH9-LPC.noreboot=off' };
  const props = { driver: watchdog.model, id: watchdog.alias?.name, ...addressProps(watchdog, context) };
  return { kind: 'device', props };
}

/** A dump is made by whoever runs QEMU, of a guest that stands still. */
function qemuAction({ action = 'reset' }: Watchdog): string {
  return action === 'dump' ? 'pause' : action;
}
