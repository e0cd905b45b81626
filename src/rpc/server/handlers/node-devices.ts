/** Procedures about devices of the host. */
import { NODE_DEVICE_CAPABILITIES, type NodeDeviceIdentity } from '../../../driver/node-device-operations.ts';
import type { NODE_DEVICE_PROCEDURES } from '../../../protocol/remote/node-device.ts';
import { eitherOf, NodeDeviceListFlag, NodeDeviceXmlFlag, namesOf } from '../../flags.ts';
import { atMost, checkFlags, DONE, group, type HandlerSession, type Handlers } from '../handler.ts';

const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT } = NodeDeviceListFlag;
const KINDS = (1 << NODE_DEVICE_CAPABILITIES.length) - 1;
const LIST_FLAGS = (KINDS | PERSISTENT | TRANSIENT | INACTIVE | ACTIVE) >>> 0;

export const nodeDeviceHandlers: Handlers<typeof NODE_DEVICE_PROCEDURES> = {
  nodeNumOfDevices: async (session, { cap, flags }) => {
    checkFlags(flags, 0, 'virNodeNumOfDevices');
    return { num: (await named(session, cap)).length };
  },
  nodeListDevices: async (session, { cap, maxnames, flags }) => {
    checkFlags(flags, 0, 'virNodeListDevices');
    const found = await named(session, cap);
    return {
      names: atMost(
        found.map(({ name }) => name),
        maxnames,
      ),
    };
  },
  connectListAllNodeDevices: async (session, { needResults, flags }) => {
    checkFlags(flags, LIST_FLAGS, 'virConnectListAllNodeDevices');
    const kinds = namesOf(NODE_DEVICE_CAPABILITIES, flags & KINDS);
    const found = await group(session, 'nodeDevices').list({
      capabilities: kinds.length === 0 ? undefined : kinds,
      active: eitherOf(flags, ACTIVE, INACTIVE),
      persistent: eitherOf(flags, PERSISTENT, TRANSIENT),
    });
    return { devices: needResults === 0 ? [] : found.map(({ name }) => ({ name })), ret: found.length };
  },
  nodeDeviceLookupByName: async (session, { name }) => ({
    dev: { name: (await group(session, 'nodeDevices').lookupByName(name)).name },
  }),
  nodeDeviceLookupScsiHostByWwn: async (session, { wwnn, wwpn, flags }) => {
    checkFlags(flags, 0, 'virNodeDeviceLookupSCSIHostByWWN');
    return { dev: { name: (await group(session, 'nodeDevices').lookupScsiHostByWwn(wwnn, wwpn)).name } };
  },
  nodeDeviceGetXmlDesc: async (session, { name, flags }) => {
    checkFlags(flags, NodeDeviceXmlFlag.INACTIVE, 'virNodeDeviceGetXMLDesc');
    return { xml: await group(session, 'nodeDevices').xmlDesc(name) };
  },
  nodeDeviceGetParent: async (session, { name }) => ({ parentName: await group(session, 'nodeDevices').parent(name) }),
  nodeDeviceNumOfCaps: async (session, { name }) => ({
    num: (await group(session, 'nodeDevices').capabilities(name)).length,
  }),
  nodeDeviceListCaps: async (session, { name, maxnames }) => ({
    names: atMost(await group(session, 'nodeDevices').capabilities(name), maxnames),
  }),
  nodeDeviceDettach: async (session, { name }) => {
    await group(session, 'nodeDevices').detach(name);
    return DONE;
  },
  nodeDeviceDetachFlags: async (session, { name, driverName, flags }) => {
    checkFlags(flags, 0, 'virNodeDeviceDetachFlags');
    await group(session, 'nodeDevices').detach(name, { driver: driverName });
    return DONE;
  },
  nodeDeviceReAttach: async (session, { name }) => {
    await group(session, 'nodeDevices').reattach(name);
    return DONE;
  },
  nodeDeviceReset: async (session, { name }) => {
    await group(session, 'nodeDevices').reset(name);
    return DONE;
  },
  nodeDeviceIsActive: async (session, { name }) => ({
    active: Number(await group(session, 'nodeDevices').isActive(name)),
  }),
  nodeDeviceIsPersistent: async (session, { name }) => ({
    persistent: Number(await group(session, 'nodeDevices').isPersistent(name)),
  }),
  nodeDeviceGetAutostart: async (session, { name }) => ({
    autostart: Number(await group(session, 'nodeDevices').autostart(name)),
  }),
};

/** With one kind, or all. */
async function named(session: HandlerSession, kind: string | undefined): Promise<readonly NodeDeviceIdentity[]> {
  return await group(session, 'nodeDevices').list({ capabilities: kind === undefined ? undefined : [kind] });
}
