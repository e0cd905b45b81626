/** What a connection's settings say of security labels. Small: every start reads it. */

import type { Placement } from '../../../guest/driver-root.ts';
import type { SecuritySettings } from '../../../security/security-settings.ts';
import type { QemuConfig } from '../config.ts';

export interface DriverSecurity extends SecuritySettings {
  /** Undefined: where QEMU gets another user. */
  readonly clearCapabilities: boolean | undefined;
  /** Who runs TPM emulators; undefined: we do. */
  readonly swtpmUser: string | undefined;
  readonly swtpmGroup: string | undefined;
}

/**
 * Guests of an embedding program, and of a user's own daemon, are as confined as that program is, unless somebody asks for more. The host's
 * daemon asks by itself, where the host has SELinux or AppArmor.
 */
export function driverSecurity(
  config: QemuConfig,
  placement: Placement,
  uid = process.geteuid?.() ?? 0,
): DriverSecurity {
  const otherwise = placement === 'daemon' && uid === 0 ? 'probe' : [];
  return {
    drivers: config.securityDrivers ?? otherwise,
    user: config.user,
    group: config.group,
    dynamicOwnership: config.dynamicOwnership,
    rememberOwner: config.rememberOwner,
    defaultConfined: config.securityDefaultConfined,
    requireConfined: config.securityRequireConfined,
    clearCapabilities: config.clearEmulatorCapabilities,
    swtpmUser: config.swtpmUser,
    swtpmGroup: config.swtpmGroup,
  };
}
