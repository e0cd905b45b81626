/** What systemd refuses, in one line: what was asked of which unit, its answer, and what to do. */
import { CgroupError } from '../action.ts';

export interface SystemdErrorInit {
  /** `create scope`, `stop`, `set limits of`. */
  readonly operation: string;
  /** `machine-qemu\x2d1\x2dweb.scope`. */
  readonly unit: string;
  /** The name that D-Bus gives the error, or a job's result: `org.freedesktop.DBus.Error.AccessDenied`, `timeout`. */
  readonly errorName: string;
  /** systemd's own words. */
  readonly words?: string | undefined;
  readonly fix?: string | undefined;
  readonly cause?: unknown;
}

/** A refusal by systemd, machined or the bus; the unit stands for the group's directory. */
export class SystemdError extends CgroupError {
  override readonly name = 'SystemdError';
  readonly unit: string;
  readonly errorName: string;

  constructor({ operation, unit, errorName, words, fix, cause }: SystemdErrorInit) {
    const detail = words === undefined || words === '' ? errorName : `${words.replace(/\.$/, '')} (${errorName})`;
    super({
      operation,
      directory: unit,
      rule: detail,
      fix: fix ?? fixOf(errorName),
      ...(cause === undefined ? {} : { cause }),
    });
    this.unit = unit;
    this.errorName = errorName;
  }
}

export const DBUS_ERROR = {
  unknownMethod: 'org.freedesktop.DBus.Error.UnknownMethod',
  serviceUnknown: 'org.freedesktop.DBus.Error.ServiceUnknown',
  noOwner: 'org.freedesktop.DBus.Error.NameHasNoOwner',
  noReply: 'org.freedesktop.DBus.Error.NoReply',
  disconnected: 'org.freedesktop.DBus.Error.Disconnected',
  noServer: 'org.freedesktop.DBus.Error.NoServer',
  noSuchUnit: 'org.freedesktop.systemd1.NoSuchUnit',
  unitExists: 'org.freedesktop.systemd1.UnitExists',
  machineExists: 'org.freedesktop.machine1.MachineExists',
  noSuchMachine: 'org.freedesktop.machine1.NoSuchMachine',
} as const;

const FIXES: Readonly<Record<string, string>> = {
  'org.freedesktop.DBus.Error.AccessDenied':
    'run as root, or allow org.freedesktop.systemd1.manage-units to this user with polkit',
  'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired':
    'run as root, or allow org.freedesktop.systemd1.manage-units to this user with polkit',
  'org.freedesktop.DBus.Error.AuthFailed':
    'the bus serves another user or user namespace: unset DBUS_SYSTEM_BUS_ADDRESS and DBUS_SESSION_BUS_ADDRESS',
  [DBUS_ERROR.unitExists]: 'a guest of that name is still there: end it, or its scope with systemctl stop',
  [DBUS_ERROR.machineExists]: 'a guest of that name is still there: end it, or see machinectl status',
  [DBUS_ERROR.noServer]: 'start the bus: systemctl start dbus.socket',
  [DBUS_ERROR.noReply]: 'see whether systemd is stuck: systemctl list-jobs',
  [DBUS_ERROR.disconnected]: 'see why the bus went away: systemctl status dbus',
  timeout: 'see what it waits for: systemctl list-jobs',
};

function fixOf(errorName: string): string | undefined {
  return FIXES[errorName];
}
