/** Procedures about network interfaces of the host: those that look. The ones that change configuration files are not served. */
import type { INTERFACE_PROCEDURES } from '../../../protocol/remote/interface.ts';
import { eitherOf, InterfaceListFlag, InterfaceXmlFlag } from '../../flags.ts';
import { atMost, checkFlags, group, type HandlerSession, type Handlers } from '../handler.ts';

const { ACTIVE, INACTIVE } = InterfaceListFlag;

export const interfaceHandlers: Handlers<typeof INTERFACE_PROCEDURES> = {
  connectNumOfInterfaces: async (session) => ({ num: (await names(session, true)).length }),
  connectListInterfaces: async (session, { maxnames }) => ({ names: atMost(await names(session, true), maxnames) }),
  connectNumOfDefinedInterfaces: async (session) => ({ num: (await names(session, false)).length }),
  connectListDefinedInterfaces: async (session, { maxnames }) => ({
    names: atMost(await names(session, false), maxnames),
  }),
  connectListAllInterfaces: async (session, { needResults, flags }) => {
    checkFlags(flags, ACTIVE | INACTIVE, 'virConnectListAllInterfaces');
    const found = await group(session, 'interfaces').list({ active: eitherOf(flags, ACTIVE, INACTIVE) });
    return { ifaces: needResults === 0 ? [] : found, ret: found.length };
  },
  interfaceLookupByName: async (session, { name }) => ({
    iface: await group(session, 'interfaces').lookupByName(name),
  }),
  interfaceLookupByMacString: async (session, { mac }) => ({
    iface: await group(session, 'interfaces').lookupByMac(mac),
  }),
  interfaceGetXmlDesc: async (session, { iface, flags }) => {
    checkFlags(flags, InterfaceXmlFlag.INACTIVE, 'virInterfaceGetXMLDesc');
    const inactive = (flags & InterfaceXmlFlag.INACTIVE) !== 0;
    return { xml: await group(session, 'interfaces').xmlDesc(iface.name, { inactive }) };
  },
  interfaceIsActive: async (session, { iface }) => ({
    active: Number(await group(session, 'interfaces').isActive(iface.name)),
  }),
};

async function names(session: HandlerSession, active: boolean): Promise<string[]> {
  return (await group(session, 'interfaces').list({ active })).map(({ name }) => name);
}
