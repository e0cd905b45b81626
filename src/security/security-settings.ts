/** What may be said of security labels in qemu.conf and lxc.conf, and whether a guest has any. Small: every start reads it. */
import type { HostSecurity } from './host-security.ts';
import type { GuestLabel } from './label-plan.ts';

/** Names as in the files. */
export interface SecuritySettings {
  /** Models beside DAC; `probe`: the one that the host has. */
  readonly drivers: readonly string[] | 'probe';
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly dynamicOwnership: boolean;
  readonly rememberOwner: boolean;
  /** A guest that says nothing of a model gets a label of it. */
  readonly defaultConfined: boolean;
  /** A guest without a label of each model is refused. */
  readonly requireConfined: boolean;
}

/** Whether there is anything to plan: guests without labels load none of it. */
export function needsLabels(settings: SecuritySettings, labels: readonly GuestLabel[]): boolean {
  const { drivers, user, group, requireConfined } = settings;
  if (drivers === 'probe' || drivers.some((driver) => driver !== 'none')) return true;
  return user !== undefined || group !== undefined || requireConfined || labels.some(({ type }) => type !== 'none');
}

/** The kernel's module that guests are confined by, unless they say something else. */
export function primaryModel(
  { drivers }: Pick<SecuritySettings, 'drivers'>,
  { selinux, apparmor }: HostSecurity,
): 'selinux' | 'apparmor' | 'none' {
  if (drivers !== 'probe') return drivers.find((driver) => driver === 'selinux' || driver === 'apparmor') ?? 'none';
  if (selinux !== undefined) return 'selinux';
  // That a daemon is confined itself is the sign that its guests are meant to be, as for libvirt.
  return apparmor?.selfConfined === true ? 'apparmor' : 'none';
}
