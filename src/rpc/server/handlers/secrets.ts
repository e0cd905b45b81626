/** Procedures about secrets. */
import { SECRET_USAGES, type SecretIdentity } from '../../../driver/secret-operations.ts';
import type { SECRET_PROCEDURES } from '../../../protocol/remote/secret.ts';
import { uuidFromWire, uuidToWire } from '../../convert.ts';
import { DefineFlag, eitherOf, SecretListFlag } from '../../flags.ts';
import { atMost, checkFlags, DONE, group, type Handlers, oneOf } from '../handler.ts';

export const secretHandlers: Handlers<typeof SECRET_PROCEDURES> = {
  connectNumOfSecrets: async (session) => ({ num: (await group(session, 'secrets').list()).length }),
  connectListSecrets: async (session, { maxuuids }) => ({
    uuids: atMost(
      (await group(session, 'secrets').list()).map(({ uuid }) => uuid),
      maxuuids,
    ),
  }),
  connectListAllSecrets: async (session, { needResults, flags }) => {
    checkFlags(flags, 0xf, 'virConnectListAllSecrets');
    const { EPHEMERAL, NO_EPHEMERAL, PRIVATE, NO_PRIVATE } = SecretListFlag;
    const found = await group(session, 'secrets').list({
      ephemeral: eitherOf(flags, EPHEMERAL, NO_EPHEMERAL),
      private: eitherOf(flags, PRIVATE, NO_PRIVATE),
    });
    return { secrets: needResults === 0 ? [] : found.map(secretToWire), ret: found.length };
  },
  secretLookupByUuid: async (session, { uuid }) => ({
    secret: secretToWire(await group(session, 'secrets').lookupByUuid(uuidFromWire(uuid))),
  }),
  secretLookupByUsage: async (session, { usageType, usageID }) => {
    const type = oneOf(SECRET_USAGES, usageType, 'secret usage type');
    return { secret: secretToWire(await group(session, 'secrets').lookupByUsage(type, usageID)) };
  },
  secretDefineXml: async (session, { xml, flags }) => {
    checkFlags(flags, DefineFlag.VALIDATE, 'virSecretDefineXML');
    const validate = (flags & DefineFlag.VALIDATE) !== 0;
    return { secret: secretToWire(await group(session, 'secrets').define(xml, { validate })) };
  },
  secretUndefine: async (session, { secret }) => {
    await group(session, 'secrets').undefine(uuidFromWire(secret.uuid));
    return DONE;
  },
  secretGetXmlDesc: async (session, { secret, flags }) => {
    checkFlags(flags, 0, 'virSecretGetXMLDesc');
    return { xml: await group(session, 'secrets').xmlDesc(uuidFromWire(secret.uuid)) };
  },
  secretSetValue: async (session, { secret, value, flags }) => {
    checkFlags(flags, 0, 'virSecretSetValue');
    await group(session, 'secrets').setValue(uuidFromWire(secret.uuid), value);
    return DONE;
  },
  secretGetValue: async (session, { secret, flags }) => {
    checkFlags(flags, 0, 'virSecretGetValue');
    return { value: await group(session, 'secrets').value(uuidFromWire(secret.uuid)) };
  },
};

export function secretToWire({ uuid, usageType, usageId }: SecretIdentity): {
  uuid: Uint8Array;
  usageType: number;
  usageID: string;
} {
  return { uuid: uuidToWire(uuid), usageType: SECRET_USAGES.indexOf(usageType), usageID: usageId };
}
