/** Secrets. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, opaque, optional, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, event, none } from '../procedure.ts';
import { secret, text, uuid } from '../structs.ts';

export const SECRET_PROCEDURES = {
  connectNumOfSecrets: call(139, 'virConnectNumOfSecrets', none, { num: int }),
  connectListSecrets: call(140, 'virConnectListSecrets', { maxuuids: int }, { uuids: array(text, Max.secretList) }),
  secretLookupByUuid: call(141, 'virSecretLookupByUUID', { uuid }, { secret }),
  secretDefineXml: call(142, 'virSecretDefineXML', { xml: text, flags: uint }, { secret }, { writes: true }),
  secretGetXmlDesc: call(143, 'virSecretGetXMLDesc', { secret, flags: uint }, { xml: text }),
  secretSetValue: call(144, 'virSecretSetValue', { secret, value: opaque(Max.secretValue), flags: uint }, none, {
    writes: true,
  }),
  secretGetValue: call(
    145,
    'virSecretGetValue',
    { secret, flags: uint },
    { value: opaque(Max.secretValue) },
    { writes: true },
  ),
  secretUndefine: call(146, 'virSecretUndefine', { secret }, none, { writes: true }),
  secretLookupByUsage: call(147, 'virSecretLookupByUsage', { usageType: int, usageID: text }, { secret }),
  connectListAllSecrets: call(
    287,
    'virConnectListAllSecrets',
    { needResults: int, flags: uint },
    { secrets: array(secret, Max.secretList), ret: uint },
  ),
  connectSecretEventRegisterAny: call(
    380,
    'virConnectSecretEventRegisterAny',
    { eventID: int, secret: optional(secret) },
    { callbackID: int },
  ),
  connectSecretEventDeregisterAny: call(381, 'virConnectSecretEventDeregisterAny', { callbackID: int }, none),
  secretEventLifecycle: event(382, { callbackID: int, secret, event: int, detail: int }),
  secretEventValueChanged: event(383, { callbackID: int, secret }),
} as const;
