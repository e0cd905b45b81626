/** Procedures of domains: devices, metadata, consoles, keys, screen, the guest agent. */
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { KEYCODE_SETS } from '../../../driver/interaction-operations.ts';
import { toTypedParams } from '../../../protocol/index.ts';
import type { DOMAIN_DEVICES_PROCEDURES } from '../../../protocol/remote/domain-devices.ts';
import { affectFromFlags } from '../../convert.ts';
import {
  ConsoleFlag,
  DeviceFlag,
  DIRTY_RATE_MODES,
  GUEST_INFO_GROUPS,
  METADATA_KINDS,
  MessagesFlag,
  namesOf,
  PasswordFlag,
  SshKeysFlag,
  SUSPEND_TARGETS,
} from '../../flags.ts';
import { checkFlags, DONE, group, type Handlers, invalidArg, oneOf, uuidOf } from '../handler.ts';

const AFFECT_FLAGS = 3;
/** VIR_TYPED_PARAM_STRING_OKAY. */
const STRING_OKAY = 4;

export const deviceHandlers: Handlers<typeof DOMAIN_DEVICES_PROCEDURES> = {
  domainAttachDevice: async (session, { dom, xml }) => {
    await group(session, 'devices').attachDevice(uuidOf(dom), xml, { live: true });
    return DONE;
  },
  domainAttachDeviceFlags: async (session, { dom, xml, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainAttachDeviceFlags');
    await group(session, 'devices').attachDevice(uuidOf(dom), xml, affectFromFlags(flags));
    return DONE;
  },
  domainDetachDevice: async (session, { dom, xml }) => {
    await group(session, 'devices').detachDevice(uuidOf(dom), xml, { live: true });
    return DONE;
  },
  domainDetachDeviceFlags: async (session, { dom, xml, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainDetachDeviceFlags');
    await group(session, 'devices').detachDevice(uuidOf(dom), xml, affectFromFlags(flags));
    return DONE;
  },
  domainDetachDeviceAlias: async (session, { dom, alias, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainDetachDeviceAlias');
    await group(session, 'devices').detachDeviceAlias(uuidOf(dom), alias, affectFromFlags(flags));
    return DONE;
  },
  domainUpdateDeviceFlags: async (session, { dom, xml, flags }) => {
    checkFlags(flags, AFFECT_FLAGS | DeviceFlag.FORCE, 'virDomainUpdateDeviceFlags');
    const force = (flags & DeviceFlag.FORCE) !== 0;
    await group(session, 'devices').updateDevice(uuidOf(dom), xml, { ...affectFromFlags(flags), force });
    return DONE;
  },
  domainGetMetadata: async (session, { dom, type, uri, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainGetMetadata');
    const kind = oneOf(METADATA_KINDS, type, 'metadata type');
    if (kind === 'element' && uri === undefined) throw invalidArg('the metadata namespace is missing');
    return {
      metadata: await group(session, 'devices').metadata(uuidOf(dom), kind, uri, affectFromFlags(flags)),
    };
  },
  domainSetMetadata: async (session, { dom, type, metadata, key, uri, flags }) => {
    checkFlags(flags, AFFECT_FLAGS, 'virDomainSetMetadata');
    const kind = oneOf(METADATA_KINDS, type, 'metadata type');
    if (kind === 'element' && uri === undefined) throw invalidArg('the metadata namespace is missing');
    if (kind === 'title' && metadata?.includes('\n') === true) throw invalidArg('a title has no line breaks');
    const change = { kind, value: metadata, key, namespaceUri: uri };
    await group(session, 'devices').setMetadata(uuidOf(dom), change, affectFromFlags(flags));
    return DONE;
  },
  domainGetMessages: async (session, { dom, flags }) => {
    checkFlags(flags, MessagesFlag.DEPRECATION | MessagesFlag.TAINTING, 'virDomainGetMessages');
    const options = {
      deprecation: flags === 0 || (flags & MessagesFlag.DEPRECATION) !== 0,
      tainting: flags === 0 || (flags & MessagesFlag.TAINTING) !== 0,
    };
    return { msgs: await group(session, 'inspection').messages(uuidOf(dom), options) };
  },

  domainOpenConsole: async (session, { dom, devName, flags }) => {
    checkFlags(flags, ConsoleFlag.FORCE | ConsoleFlag.SAFE, 'virDomainOpenConsole');
    const console = session.driver.console(uuidOf(dom), devName);
    session.attach(session.consoles.open(console, (flags & ConsoleFlag.FORCE) !== 0));
    return DONE;
  },
  domainOpenChannel: async (session, { dom, name, flags }) => {
    checkFlags(flags, ConsoleFlag.FORCE, 'virDomainOpenChannel');
    session.attach(session.consoles.open(session.driver.console(uuidOf(dom), name), (flags & ConsoleFlag.FORCE) !== 0));
    return DONE;
  },
  domainScreenshot: async (session, { dom, screen, flags }) => {
    checkFlags(flags, 0, 'virDomainScreenshot');
    const { mime, image } = await group(session, 'interaction').screenshot(uuidOf(dom), screen);
    session.attach(image);
    return { mime };
  },
  domainSendKey: async (session, { dom, codeset, holdtime, keycodes, flags }) => {
    checkFlags(flags, 0, 'virDomainSendKey');
    if (keycodes.length === 0) throw invalidArg('there is no key to send');
    const options = { codeset: oneOf(KEYCODE_SETS, codeset, 'code set'), holdMs: holdtime };
    await group(session, 'interaction').sendKey(uuidOf(dom), keycodes, options);
    return DONE;
  },
  domainSendProcessSignal: async (session, { dom, pidValue, signum, flags }) => {
    checkFlags(flags, 0, 'virDomainSendProcessSignal');
    await group(session, 'exec').sendSignal(uuidOf(dom), Number(pidValue), signum);
    return DONE;
  },
  domainInjectNmi: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainInjectNMI');
    await group(session, 'interaction').injectNmi(uuidOf(dom));
    return DONE;
  },
  domainPmSuspendForDuration: async (session, { dom, target, duration, flags }) => {
    checkFlags(flags, 0, 'virDomainPMSuspendForDuration');
    if (duration !== 0n) throw invalidArg('a duration is not supported: it must be 0');
    await group(session, 'interaction').pmSuspend(uuidOf(dom), oneOf(SUSPEND_TARGETS, target, 'suspend target'));
    return DONE;
  },
  domainPmWakeup: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainPMWakeup');
    await group(session, 'interaction').pmWakeup(uuidOf(dom));
    return DONE;
  },

  domainGetHostname: async (session, { dom, flags }) => {
    // Lease or agent: only the agent knows.
    checkFlags(flags, 3, 'virDomainGetHostname');
    return { hostname: await group(session, 'interaction').hostname(uuidOf(dom)) };
  },
  domainGetGuestInfo: async (session, { dom, types, flags }) => {
    checkFlags(flags, 0, 'virDomainGetGuestInfo');
    const wanted = types === 0 ? [...GUEST_INFO_GROUPS] : namesOf(GUEST_INFO_GROUPS, types);
    return { params: toTypedParams(await group(session, 'interaction').guestInfo(uuidOf(dom), wanted)) };
  },
  domainGetFsinfo: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainGetFSInfo');
    const found = await group(session, 'interaction').filesystems(uuidOf(dom));
    const info = found.map(({ mountPoint, name, type, disks }) => ({
      mountpoint: mountPoint,
      name,
      fstype: type,
      devAliases: disks,
    }));
    return { info, ret: info.length };
  },
  domainGetLaunchSecurityInfo: async (session, { dom, flags }) => {
    checkFlags(flags, STRING_OKAY, 'virDomainGetLaunchSecurityInfo');
    return { params: toTypedParams(await group(session, 'inspection').launchSecurity(uuidOf(dom))) };
  },
  domainStartDirtyRateCalc: async (session, { dom, seconds, flags }) => {
    const mode = oneOf(DIRTY_RATE_MODES, flags, 'mode of measuring');
    await group(session, 'inspection').measureDirtyRate(uuidOf(dom), seconds, { mode });
    return DONE;
  },
  domainFsfreeze: async (session, { dom, mountpoints, flags }) => {
    checkFlags(flags, 0, 'virDomainFSFreeze');
    return { filesystems: await group(session, 'interaction').freezeFilesystems(uuidOf(dom), mountpoints) };
  },
  domainFsthaw: async (session, { dom, mountpoints, flags }) => {
    checkFlags(flags, 0, 'virDomainFSThaw');
    return { filesystems: await group(session, 'interaction').thawFilesystems(uuidOf(dom), mountpoints) };
  },
  domainFstrim: async (session, { dom, mountPoint, minimum, flags }) => {
    checkFlags(flags, 0, 'virDomainFSTrim');
    if (mountPoint !== undefined) {
      throw new VirtError('the guest agent trims all file systems, not one', { code: ErrorCode.ARGUMENT_UNSUPPORTED });
    }
    await group(session, 'interaction').trimFilesystems(uuidOf(dom), minimum);
    return DONE;
  },
  domainSetUserPassword: async (session, { dom, user, password, flags }) => {
    checkFlags(flags, PasswordFlag.ENCRYPTED, 'virDomainSetUserPassword');
    if (user === undefined || password === undefined) throw invalidArg('user and password are needed');
    const encrypted = (flags & PasswordFlag.ENCRYPTED) !== 0;
    await group(session, 'interaction').setUserPassword(uuidOf(dom), user, password, { encrypted });
    return DONE;
  },
  domainAuthorizedSshKeysGet: async (session, { dom, user, flags }) => {
    checkFlags(flags, 0, 'virDomainAuthorizedSSHKeysGet');
    return { keys: await group(session, 'interaction').authorizedSshKeys(uuidOf(dom), user) };
  },
  domainAuthorizedSshKeysSet: async (session, { dom, user, keys, flags }) => {
    checkFlags(flags, SshKeysFlag.APPEND | SshKeysFlag.REMOVE, 'virDomainAuthorizedSSHKeysSet');
    const options = { append: (flags & SshKeysFlag.APPEND) !== 0, remove: (flags & SshKeysFlag.REMOVE) !== 0 };
    await group(session, 'interaction').setAuthorizedSshKeys(uuidOf(dom), user, keys, options);
    return DONE;
  },
};
