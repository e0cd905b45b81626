/** Passwords of VNC and SPICE: set over QMP before the guest runs, so that no list of processes shows them. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { PlanContext } from '../../context.ts';

/** Defers the commands that set a display's password and when it ends to be valid. */
export function planPassword(
  protocol: 'vnc' | 'spice',
  graphics: Graphics,
  password: string | undefined,
  context: PlanContext,
): void {
  if (password === undefined) return;
  context.deferred.push(
    { command: 'set_password', arguments: { protocol, password, connected: graphics.connected } },
    { command: 'expire_password', arguments: { protocol, time: expiryOf(graphics, password) } },
  );
}

/** An empty password means that nobody gets in; a moment in the past ends it as well. */
function expiryOf({ passwdValidTo }: Graphics, password: string): string {
  if (password === '') return 'now';
  return passwdValidTo === undefined ? 'never' : String(Date.parse(`${passwdValidTo}Z`) / 1000);
}
