/** How the ledger's collector gives back the labels of files that guests of dead programs had, and removes their profiles. */
import { rmSync } from 'node:fs';
import type { ObjectIdentity } from '../core/ledger-format.ts';
import type { Removers } from '../core/ledger-removers.ts';
import type { HeldLabel } from './held-label.ts';

/** Kinds of the ledger's records. */
export const LABEL_KIND = 'label';
export const PROFILE_KIND = 'apparmor profile';

export const SECURITY_REMOVERS = {
  /** `HeldLabel` */
  [LABEL_KIND]: async (identity, { signal }) => {
    const { loadLabelTools, releaseHeldLabel } = await import('./held-label.ts');
    await releaseHeldLabel(toHeldLabel(identity), await loadLabelTools(), signal);
  },
  /** `{name, path}` */
  [PROFILE_KIND]: async ({ name, path }, { sameBoot }) => {
    if (typeof name !== 'string' || typeof path !== 'string') throw new TypeError('its record names no profile');
    if (!sameBoot) return rmSync(path, { force: true });
    const { unloadProfile } = await import('./apparmor-profile.ts');
    await unloadProfile(name, path);
  },
} as const satisfies Removers;

/** @throws TypeError for a record that is not whole */
export function toHeldLabel(identity: ObjectIdentity): HeldLabel {
  const text = (key: string): string => {
    const value = identity[key];
    if (typeof value === 'string') return value;
    throw new TypeError(`its record has no ${key}`);
  };
  const model = text('model');
  const restore = text('restore');
  if (model !== 'dac' && model !== 'selinux') throw new TypeError(`its record has the unknown model '${model}'`);
  if (restore !== 'remembered' && restore !== 'default') throw new TypeError('its record does not say what to restore');
  return {
    path: text('path'),
    model,
    label: text('label'),
    before: text('before'),
    restore,
    holder: text('holder'),
    device: text('device'),
    inode: text('inode'),
    lock: text('lock'),
  };
}
