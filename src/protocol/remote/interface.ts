/** Network interfaces of the host. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, none } from '../procedure.ts';
import { hostInterface, text } from '../structs.ts';

export const INTERFACE_PROCEDURES = {
  connectNumOfInterfaces: call(126, 'virConnectNumOfInterfaces', none, { num: int }),
  connectListInterfaces: call(
    127,
    'virConnectListInterfaces',
    { maxnames: int },
    { names: array(text, Max.interfaceList) },
  ),
  interfaceLookupByName: call(128, 'virInterfaceLookupByName', { name: text }, { iface: hostInterface }),
  interfaceLookupByMacString: call(129, 'virInterfaceLookupByMACString', { mac: text }, { iface: hostInterface }),
  interfaceGetXmlDesc: call(130, 'virInterfaceGetXMLDesc', { iface: hostInterface, flags: uint }, { xml: text }),
  interfaceDefineXml: call(
    131,
    'virInterfaceDefineXML',
    { xml: text, flags: uint },
    { iface: hostInterface },
    { writes: true },
  ),
  interfaceUndefine: call(132, 'virInterfaceUndefine', { iface: hostInterface }, none, { writes: true }),
  interfaceCreate: call(133, 'virInterfaceCreate', { iface: hostInterface, flags: uint }, none, { writes: true }),
  interfaceDestroy: call(134, 'virInterfaceDestroy', { iface: hostInterface, flags: uint }, none, { writes: true }),
  connectNumOfDefinedInterfaces: call(137, 'virConnectNumOfDefinedInterfaces', none, { num: int }),
  connectListDefinedInterfaces: call(
    138,
    'virConnectListDefinedInterfaces',
    { maxnames: int },
    { names: array(text, Max.interfaceList) },
  ),
  interfaceIsActive: call(156, 'virInterfaceIsActive', { iface: hostInterface }, { active: int }),
  interfaceChangeBegin: call(220, 'virInterfaceChangeBegin', { flags: uint }, none, { writes: true }),
  interfaceChangeCommit: call(221, 'virInterfaceChangeCommit', { flags: uint }, none, { writes: true }),
  interfaceChangeRollback: call(222, 'virInterfaceChangeRollback', { flags: uint }, none, { writes: true }),
  connectListAllInterfaces: call(
    284,
    'virConnectListAllInterfaces',
    { needResults: int, flags: uint },
    { ifaces: array(hostInterface, Max.interfaceList), ret: uint },
  ),
} as const;
