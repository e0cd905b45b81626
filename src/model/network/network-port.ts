/** `<networkport>`: a guest's place in a network. libvirt's format, which clients see through virNetworkPort. */
import { formatXml } from '../../xml/format.ts';
import { parseXml } from '../../xml/parse.ts';
import { pciFields } from '../domain/devices/address.ts';
import { bandwidth, virtualport, vlan } from '../domain/devices/interface.ts';
import { FaultList } from '../schema/faults.ts';
import { attr, child, type Infer, ReadContext, required, struct, withDefault } from '../schema/schema.ts';
import { mac, oneOf, text, uuid, yesNo } from '../schema/values.ts';

const plug = struct(() => ({
  type: required(attr(oneOf('network', 'bridge', 'direct', 'hostdev-pci'))),
  bridge: attr(text),
  macTableManager: attr(oneOf('kernel', 'libvirt')),
  dev: attr(text),
  mode: attr(oneOf('vepa', 'private', 'bridge', 'passthrough')),
  managed: attr(yesNo),
  driver: child(struct({ name: required(attr(oneOf('kvm', 'vfio'))) })),
  address: child(struct({ type: withDefault(attr(oneOf('pci')), 'pci'), ...pciFields })),
}));

const schema = struct(() => ({
  uuid: child(uuid),
  owner: required(child(struct({ name: required(child(text)), uuid: required(child(uuid)) }))),
  group: child(text),
  mac: required(child(struct({ address: required(attr(mac)) }))),
  virtualport: child(virtualport),
  bandwidth: child(bandwidth),
  vlan: child(vlan),
  port: child(struct({ isolated: attr(yesNo) })),
  rxfilters: child(struct({ trustGuest: required(attr(yesNo)) })),
  plug: child(plug),
}));

export interface NetworkPortDefinition extends Infer<typeof schema> {}
export type NetworkPlug = Infer<typeof plug>;

/** Reads a port. @throws XmlSyntaxError, DefinitionError */
export function parseNetworkPort(source: string): NetworkPortDefinition {
  const { root } = parseXml(source);
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const port = context.inside(root.name, () => {
    if (root.name !== 'networkport') context.fault(root, `the root element is <${root.name}>, not <networkport>`);
    return schema.readElement(root, context);
  });
  faults.throwIfAny('network port XML');
  return port;
}

/** Writes it as libvirt does. */
export function formatNetworkPort(port: NetworkPortDefinition): string {
  return formatXml(schema.writeElement('networkport', port));
}
