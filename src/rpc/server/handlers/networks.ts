/** Procedures about virtual networks and their ports. */
import {
  NETWORK_UPDATE_COMMANDS,
  type NetworkFilter,
  type NetworkIdentity,
  type NetworkPortIdentity,
  type NetworkUpdateSection,
  sectionOf,
} from '../../../driver/network-operations.ts';
import { fromTypedParams } from '../../../protocol/index.ts';
import type { NETWORK_PROCEDURES } from '../../../protocol/remote/network.ts';
import { uuidFromWire, uuidToWire } from '../../convert.ts';
import { ADDRESS_TYPES, AffectFlag, DefineFlag, eitherOf, METADATA_KINDS, ObjectListFlag } from '../../flags.ts';
import {
  atMost,
  checkFlags,
  countedParams,
  DONE,
  group,
  type HandlerSession,
  type Handlers,
  invalidArg,
  oneOf,
} from '../handler.ts';

const LIST_FLAGS = 0x3f;
/** VIR_TYPED_PARAM_STRING_OKAY, which all of today's clients set. */
const STRING_OKAY = 4;

interface WireNetwork {
  readonly name: string;
  readonly uuid: Uint8Array;
}

interface WirePort {
  readonly net: WireNetwork;
  readonly uuid: Uint8Array;
}

export const networkHandlers: Handlers<typeof NETWORK_PROCEDURES> = {
  connectNumOfNetworks: async (session) => ({ num: (await names(session, { active: true })).length }),
  connectNumOfDefinedNetworks: async (session) => ({ num: (await names(session, { active: false })).length }),
  connectListNetworks: async (session, { maxnames }) => ({
    names: atMost(await names(session, { active: true }), maxnames),
  }),
  connectListDefinedNetworks: async (session, { maxnames }) => ({
    names: atMost(await names(session, { active: false }), maxnames),
  }),
  connectListAllNetworks: async (session, { needResults, flags }) => {
    checkFlags(flags, LIST_FLAGS, 'virConnectListAllNetworks');
    const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT, AUTOSTART, NO_AUTOSTART } = ObjectListFlag;
    const found = await group(session, 'networks').list({
      active: eitherOf(flags, ACTIVE, INACTIVE),
      persistent: eitherOf(flags, PERSISTENT, TRANSIENT),
      autostart: eitherOf(flags, AUTOSTART, NO_AUTOSTART),
    });
    return { nets: needResults === 0 ? [] : found.map(networkToWire), ret: found.length };
  },
  networkLookupByName: async (session, { name }) => ({
    net: networkToWire(await group(session, 'networks').lookupByName(name)),
  }),
  networkLookupByUuid: async (session, { uuid }) => ({
    net: networkToWire(await group(session, 'networks').lookupByUuid(uuidFromWire(uuid))),
  }),
  networkDefineXml: async (session, { xml }) => ({ net: networkToWire(await group(session, 'networks').define(xml)) }),
  networkDefineXmlFlags: async (session, { xml, flags }) => {
    checkFlags(flags, DefineFlag.VALIDATE, 'virNetworkDefineXMLFlags');
    const validate = (flags & DefineFlag.VALIDATE) !== 0;
    return { net: networkToWire(await group(session, 'networks').define(xml, { validate })) };
  },
  networkCreateXml: async (session, { xml }) => ({
    net: networkToWire(await group(session, 'networks').createXml(xml)),
  }),
  networkCreateXmlFlags: async (session, { xml, flags }) => {
    checkFlags(flags, DefineFlag.VALIDATE, 'virNetworkCreateXMLFlags');
    const validate = (flags & DefineFlag.VALIDATE) !== 0;
    return { net: networkToWire(await group(session, 'networks').createXml(xml, { validate })) };
  },
  networkCreate: async (session, { net }) => {
    await group(session, 'networks').create(uuidFromWire(net.uuid));
    return DONE;
  },
  networkDestroy: async (session, { net }) => {
    await group(session, 'networks').destroy(uuidFromWire(net.uuid));
    return DONE;
  },
  networkUndefine: async (session, { net }) => {
    await group(session, 'networks').undefine(uuidFromWire(net.uuid));
    return DONE;
  },
  networkGetXmlDesc: async (session, { net, flags }) => {
    checkFlags(flags, 1, 'virNetworkGetXMLDesc');
    return { xml: await group(session, 'networks').xmlDesc(uuidFromWire(net.uuid), { inactive: flags !== 0 }) };
  },
  networkGetBridgeName: async (session, { net }) => ({
    name: await group(session, 'networks').bridgeName(uuidFromWire(net.uuid)),
  }),
  networkGetAutostart: async (session, { net }) => ({
    autostart: Number(await group(session, 'networks').autostart(uuidFromWire(net.uuid))),
  }),
  networkSetAutostart: async (session, { net, autostart }) => {
    await group(session, 'networks').setAutostart(uuidFromWire(net.uuid), autostart !== 0);
    return DONE;
  },
  networkIsActive: async (session, { net }) => ({
    active: Number(await group(session, 'networks').isActive(uuidFromWire(net.uuid))),
  }),
  networkIsPersistent: async (session, { net }) => ({
    persistent: Number(await group(session, 'networks').isPersistent(uuidFromWire(net.uuid))),
  }),
  networkUpdate: async (session, { net, command, section, parentIndex, xml, flags }) => {
    checkFlags(flags, AffectFlag.LIVE | AffectFlag.CONFIG, 'virNetworkUpdate');
    await group(session, 'networks').update(uuidFromWire(net.uuid), {
      command: oneOf(NETWORK_UPDATE_COMMANDS, command - 1, 'network update command'),
      section: knownSection(section),
      parentIndex,
      xml,
      ...affected(flags),
    });
    return DONE;
  },
  networkGetDhcpLeases: async (session, { net, mac, needResults, flags }) => {
    checkFlags(flags, 0, 'virNetworkGetDHCPLeases');
    const leases = await group(session, 'networks').dhcpLeases(uuidFromWire(net.uuid), { mac });
    const wire = leases.map((lease) => ({
      iface: lease.iface,
      expirytime: lease.expires,
      type: ADDRESS_TYPES.indexOf(lease.type),
      mac: lease.mac,
      iaid: lease.iaid,
      ipaddr: lease.address,
      prefix: lease.prefix,
      hostname: lease.hostname,
      clientid: lease.clientId,
    }));
    return { leases: needResults === 0 ? [] : wire, ret: leases.length };
  },
  networkSetMetadata: async (session, { network, type, metadata, key, uri, flags }) => {
    checkFlags(flags, AffectFlag.LIVE | AffectFlag.CONFIG, 'virNetworkSetMetadata');
    const kind = oneOf(METADATA_KINDS, type, 'kind of metadata');
    const change = { kind, value: metadata, key, uri, ...affected(flags) };
    await group(session, 'networks').setMetadata(uuidFromWire(network.uuid), change);
    return DONE;
  },
  networkGetMetadata: async (session, { network, type, uri, flags }) => {
    checkFlags(flags, AffectFlag.LIVE | AffectFlag.CONFIG, 'virNetworkGetMetadata');
    const kind = oneOf(METADATA_KINDS, type, 'kind of metadata');
    return {
      metadata: await group(session, 'networks').metadata(uuidFromWire(network.uuid), kind, uri, affected(flags)),
    };
  },
  networkListAllPorts: async (session, { network, needResults, flags }) => {
    checkFlags(flags, 0, 'virNetworkListAllPorts');
    const ports = await group(session, 'networks').listPorts(uuidFromWire(network.uuid));
    return { ports: needResults === 0 ? [] : ports.map(portToWire), ret: ports.length };
  },
  networkPortLookupByUuid: async (session, { network, uuid }) => ({
    port: portToWire(await group(session, 'networks').lookupPort(uuidFromWire(network.uuid), uuidFromWire(uuid))),
  }),
  networkPortCreateXml: async (session, { network, xml, flags }) => {
    checkFlags(flags, 2, 'virNetworkPortCreateXML');
    return { port: portToWire(await group(session, 'networks').createPort(uuidFromWire(network.uuid), xml)) };
  },
  networkPortGetXmlDesc: async (session, { port, flags }) => {
    checkFlags(flags, 0, 'virNetworkPortGetXMLDesc');
    return { xml: await group(session, 'networks').portXmlDesc(portFromWire(port)) };
  },
  networkPortGetParameters: async (session, { port, nparams, flags }) => {
    checkFlags(flags, STRING_OKAY, 'virNetworkPortGetParameters');
    return countedParams(await group(session, 'networks').portParameters(portFromWire(port)), nparams);
  },
  networkPortSetParameters: async (session, { port, params, flags }) => {
    checkFlags(flags, 0, 'virNetworkPortSetParameters');
    if (params.length === 0) throw invalidArg('there is nothing to set: the list of parameters is empty');
    await group(session, 'networks').setPortParameters(portFromWire(port), fromTypedParams(params));
    return DONE;
  },
  networkPortDelete: async (session, { port, flags }) => {
    checkFlags(flags, 0, 'virNetworkPortDelete');
    await group(session, 'networks').deletePort(portFromWire(port));
    return DONE;
  },
};

export function networkToWire({ name, uuid }: NetworkIdentity): WireNetwork {
  return { name, uuid: uuidToWire(uuid) };
}

function portToWire({ network, uuid }: NetworkPortIdentity): WirePort {
  return { net: networkToWire(network), uuid: uuidToWire(uuid) };
}

function portFromWire({ net, uuid }: WirePort): NetworkPortIdentity {
  return { network: { name: net.name, uuid: uuidFromWire(net.uuid) }, uuid: uuidFromWire(uuid) };
}

async function names(session: HandlerSession, filter: NetworkFilter): Promise<string[]> {
  return (await group(session, 'networks').list(filter)).map(({ name }) => name);
}

/** Neither bit: what the network is now. */
function affected(flags: number): { live: boolean; config: boolean } {
  return { live: (flags & AffectFlag.LIVE) !== 0, config: (flags & AffectFlag.CONFIG) !== 0 };
}

function knownSection(number: number): NetworkUpdateSection {
  const section = sectionOf(number);
  if (section === undefined) throw invalidArg(`there is no network section ${number}`);
  return section;
}
