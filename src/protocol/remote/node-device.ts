/** Devices of the host. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, optional, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, event, none } from '../procedure.ts';
import { nodeDevice, optionalText, text } from '../structs.ts';

export const NODE_DEVICE_PROCEDURES = {
  nodeNumOfDevices: call(111, 'virNodeNumOfDevices', { cap: optionalText, flags: uint }, { num: int }),
  nodeListDevices: call(
    112,
    'virNodeListDevices',
    { cap: optionalText, maxnames: int, flags: uint },
    { names: array(text, Max.nodeDeviceList) },
  ),
  nodeDeviceLookupByName: call(113, 'virNodeDeviceLookupByName', { name: text }, { dev: nodeDevice }),
  nodeDeviceGetXmlDesc: call(114, 'virNodeDeviceGetXMLDesc', { name: text, flags: uint }, { xml: text }),
  nodeDeviceGetParent: call(115, 'virNodeDeviceGetParent', { name: text }, { parentName: optionalText }),
  nodeDeviceNumOfCaps: call(116, 'virNodeDeviceNumOfCaps', { name: text }, { num: int }),
  nodeDeviceListCaps: call(
    117,
    'virNodeDeviceListCaps',
    { name: text, maxnames: int },
    { names: array(text, Max.nodeDeviceCapsList) },
  ),
  nodeDeviceDettach: call(118, 'virNodeDeviceDettach', { name: text }, none, { writes: true }),
  nodeDeviceReAttach: call(119, 'virNodeDeviceReAttach', { name: text }, none, { writes: true }),
  nodeDeviceReset: call(120, 'virNodeDeviceReset', { name: text }, none, { writes: true }),
  nodeDeviceCreateXml: call(
    123,
    'virNodeDeviceCreateXML',
    { xmlDesc: text, flags: uint },
    { dev: nodeDevice },
    { writes: true },
  ),
  nodeDeviceDestroy: call(124, 'virNodeDeviceDestroy', { name: text }, none, { writes: true }),
  connectListAllNodeDevices: call(
    285,
    'virConnectListAllNodeDevices',
    { needResults: int, flags: uint },
    { devices: array(nodeDevice, Max.nodeDeviceList), ret: uint },
  ),
  nodeDeviceLookupScsiHostByWwn: call(
    297,
    'virNodeDeviceLookupSCSIHostByWWN',
    { wwnn: text, wwpn: text, flags: uint },
    { dev: nodeDevice },
  ),
  nodeDeviceDetachFlags: call(
    301,
    'virNodeDeviceDetachFlags',
    { name: text, driverName: optionalText, flags: uint },
    none,
    { writes: true },
  ),
  connectNodeDeviceEventRegisterAny: call(
    374,
    'virConnectNodeDeviceEventRegisterAny',
    { eventID: int, dev: optional(nodeDevice) },
    { callbackID: int },
  ),
  connectNodeDeviceEventDeregisterAny: call(375, 'virConnectNodeDeviceEventDeregisterAny', { callbackID: int }, none),
  nodeDeviceEventLifecycle: event(376, { callbackID: int, dev: nodeDevice, event: int, detail: int }),
  nodeDeviceEventUpdate: event(377, { callbackID: int, dev: nodeDevice }),
  nodeDeviceDefineXml: call(
    428,
    'virNodeDeviceDefineXML',
    { xmlDesc: text, flags: uint },
    { dev: nodeDevice },
    { writes: true },
  ),
  nodeDeviceUndefine: call(429, 'virNodeDeviceUndefine', { name: text, flags: uint }, none, { writes: true }),
  nodeDeviceCreate: call(430, 'virNodeDeviceCreate', { name: text, flags: uint }, none, { writes: true }),
  nodeDeviceGetAutostart: call(433, 'virNodeDeviceGetAutostart', { name: text }, { autostart: int }),
  nodeDeviceSetAutostart: call(434, 'virNodeDeviceSetAutostart', { name: text, autostart: int }, none, {
    writes: true,
  }),
  nodeDeviceIsPersistent: call(435, 'virNodeDeviceIsPersistent', { name: text }, { persistent: int }),
  nodeDeviceIsActive: call(436, 'virNodeDeviceIsActive', { name: text }, { active: int }),
  nodeDeviceUpdate: call(447, 'virNodeDeviceUpdate', { name: text, xmlDesc: text, flags: uint }, none, {
    writes: true,
  }),
} as const;
