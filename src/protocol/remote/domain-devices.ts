/** Domains: devices, the guest agent, keys, screen, consoles, metadata. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, hyper, int, uhyper, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, none } from '../procedure.ts';
import { domain, domainFsinfo, optionalText, text, typedParam } from '../structs.ts';

export const DOMAIN_DEVICES_PROCEDURES = {
  domainAttachDevice: call(8, 'virDomainAttachDevice', { dom: domain, xml: text }, none, { writes: true }),
  domainDetachDevice: call(13, 'virDomainDetachDevice', { dom: domain, xml: text }, none, { writes: true }),
  domainAttachDeviceFlags: call(160, 'virDomainAttachDeviceFlags', { dom: domain, xml: text, flags: uint }, none, {
    writes: true,
  }),
  domainDetachDeviceFlags: call(161, 'virDomainDetachDeviceFlags', { dom: domain, xml: text, flags: uint }, none, {
    writes: true,
  }),
  domainUpdateDeviceFlags: call(174, 'virDomainUpdateDeviceFlags', { dom: domain, xml: text, flags: uint }, none, {
    writes: true,
  }),
  domainOpenConsole: call(201, 'virDomainOpenConsole', { dom: domain, devName: optionalText, flags: uint }, none, {
    writes: true,
    stream: 'read',
  }),
  domainInjectNmi: call(210, 'virDomainInjectNMI', { dom: domain, flags: uint }, none, { writes: true }),
  domainScreenshot: call(
    211,
    'virDomainScreenshot',
    { dom: domain, screen: uint, flags: uint },
    { mime: optionalText },
    { writes: true, stream: 'read' },
  ),
  domainSendKey: call(
    226,
    'virDomainSendKey',
    { dom: domain, codeset: uint, holdtime: uint, keycodes: array(uint, Max.domainSendKey), flags: uint },
    none,
    { writes: true },
  ),
  domainOpenGraphics: call(249, 'virDomainOpenGraphics', { dom: domain, idx: uint, flags: uint }, none, {
    writes: true,
  }),
  domainPmSuspendForDuration: call(
    261,
    'virDomainPMSuspendForDuration',
    { dom: domain, target: uint, duration: uhyper, flags: uint },
    none,
    { writes: true },
  ),
  domainSetMetadata: call(
    264,
    'virDomainSetMetadata',
    { dom: domain, type: int, metadata: optionalText, key: optionalText, uri: optionalText, flags: uint },
    none,
    { writes: true },
  ),
  domainGetMetadata: call(
    265,
    'virDomainGetMetadata',
    { dom: domain, type: int, uri: optionalText, flags: uint },
    { metadata: text },
  ),
  domainPmWakeup: call(267, 'virDomainPMWakeup', { dom: domain, flags: uint }, none, { writes: true }),
  domainGetHostname: call(
    277,
    'virDomainGetHostname',
    { dom: domain, flags: uint },
    { hostname: text },
    { writes: true },
  ),
  domainFstrim: call(
    294,
    'virDomainFSTrim',
    { dom: domain, mountPoint: optionalText, minimum: uhyper, flags: uint },
    none,
    { writes: true },
  ),
  domainSendProcessSignal: call(
    295,
    'virDomainSendProcessSignal',
    { dom: domain, pidValue: hyper, signum: uint, flags: uint },
    none,
    { writes: true },
  ),
  domainOpenChannel: call(296, 'virDomainOpenChannel', { dom: domain, name: optionalText, flags: uint }, none, {
    writes: true,
    stream: 'read',
  }),
  domainFsfreeze: call(
    335,
    'virDomainFSFreeze',
    { dom: domain, mountpoints: array(text, Max.domainFsfreezeMountpoints), flags: uint },
    { filesystems: int },
    { writes: true },
  ),
  domainFsthaw: call(
    336,
    'virDomainFSThaw',
    { dom: domain, mountpoints: array(text, Max.domainFsfreezeMountpoints), flags: uint },
    { filesystems: int },
    { writes: true },
  ),
  domainOpenGraphicsFd: call(343, 'virDomainOpenGraphicsFD', { dom: domain, idx: uint, flags: uint }, none, {
    writes: true,
  }),
  domainGetFsinfo: call(
    349,
    'virDomainGetFSInfo',
    { dom: domain, flags: uint },
    { info: array(domainFsinfo, Max.domainFsinfo), ret: uint },
    { writes: true },
  ),
  domainSetUserPassword: call(
    357,
    'virDomainSetUserPassword',
    { dom: domain, user: optionalText, password: optionalText, flags: uint },
    none,
    { writes: true },
  ),
  domainDetachDeviceAlias: call(392, 'virDomainDetachDeviceAlias', { dom: domain, alias: text, flags: uint }, none, {
    writes: true,
  }),
  domainGetLaunchSecurityInfo: call(
    396,
    'virDomainGetLaunchSecurityInfo',
    { dom: domain, flags: uint },
    { params: array(typedParam, Max.domainLaunchSecurityInfoParams) },
    { writes: true },
  ),
  domainGetGuestInfo: call(
    418,
    'virDomainGetGuestInfo',
    { dom: domain, types: uint, flags: uint },
    { params: array(typedParam, Max.domainGuestInfoParams) },
    { writes: true },
  ),
  domainAuthorizedSshKeysGet: call(
    424,
    'virDomainAuthorizedSSHKeysGet',
    { dom: domain, user: text, flags: uint },
    { keys: array(text, Max.domainAuthorizedSshKeys) },
    { writes: true },
  ),
  domainAuthorizedSshKeysSet: call(
    425,
    'virDomainAuthorizedSSHKeysSet',
    { dom: domain, user: text, keys: array(text, Max.domainAuthorizedSshKeys), flags: uint },
    none,
    { writes: true },
  ),
  domainGetMessages: call(
    426,
    'virDomainGetMessages',
    { dom: domain, flags: uint },
    { msgs: array(text, Max.domainMessages) },
  ),
  domainStartDirtyRateCalc: call(427, 'virDomainStartDirtyRateCalc', { dom: domain, seconds: int, flags: uint }, none, {
    writes: true,
  }),
  domainSetLaunchSecurityState: call(
    439,
    'virDomainSetLaunchSecurityState',
    { dom: domain, params: array(typedParam, Max.domainLaunchSecurityStateParams), flags: uint },
    none,
    { writes: true },
  ),
  domainFdAssociate: call(443, 'virDomainFDAssociate', { dom: domain, name: text, flags: uint }, none, {
    writes: true,
  }),
} as const;
