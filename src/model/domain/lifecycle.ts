/** `<on_poweroff>` and its kin, `<pm>`. */
import { attr, child, type Infer, struct } from '../schema/schema.ts';
import { oneOf, yesNo } from '../schema/values.ts';

const sleepState = struct(() => ({ enabled: attr(yesNo) }));

/** `<pm>`: which sleep states the firmware offers. */
export const pm = struct(() => ({
  suspendToMem: child(sleepState, 'suspend-to-mem'),
  suspendToDisk: child(sleepState, 'suspend-to-disk'),
}));
export interface Pm extends Infer<typeof pm> {}

const action = oneOf('destroy', 'restart', 'rename-restart', 'preserve', 'coredump-destroy', 'coredump-restart');

/** The elements of `<domain>` that say what happens when the guest ends, restarts or crashes. */
export const lifecycleFields = {
  onPoweroff: child(action, 'on_poweroff'),
  onReboot: child(action, 'on_reboot'),
  onCrash: child(action, 'on_crash'),
  onLockfailure: child(oneOf('poweroff', 'restart', 'pause', 'ignore'), 'on_lockfailure'),
  pm: child(pm),
};
