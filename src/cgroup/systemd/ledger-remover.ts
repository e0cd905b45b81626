/** How the ledger's collector ends scopes of guests that died with their owner. Talking to systemd is loaded only when there is one to end. */
import type { Removers } from '../../core/ledger-removers.ts';
import { isSystemdHere } from './is-here.ts';

export const SCOPE_REMOVERS = {
  /**
   * `{unit, machine?, address?}`. systemd ends an empty scope by itself, so that this finds one seldom. One with processes stays, and is an
   * error: they are somebody's.
   */
  scope: async ({ unit, machine, address }, { sameBoot, signal }) => {
    if (typeof unit !== 'string' || !unit.endsWith('.scope')) throw new TypeError('its record has no scope');
    if (!sameBoot || (address === undefined && !isSystemdHere())) return;
    const { Systemd } = await import('./systemd.ts');
    const { collectScope } = await import('./collect-scope.ts');
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    await using systemd = await Systemd.open({ address: text(address), signal });
    await collectScope(systemd, { unit, machine: text(machine) }, { signal });
  },
} as const satisfies Removers;
