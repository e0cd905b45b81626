/** `<interface>` of the host: how it is called, what it consists of. Not a guest's interface, which is a device of a domain. */
import { formatXml } from '../xml/format.ts';
import { XmlElement } from '../xml/node.ts';
import { parseXml } from '../xml/parse.ts';
import { FaultList } from './schema/faults.ts';
import {
  attr,
  child,
  children,
  type ElementCodec,
  type Infer,
  lazy,
  ReadContext,
  required,
  struct,
} from './schema/schema.ts';
import { oneOf, text, uint } from './schema/values.ts';

/** In the order of the kernel's numbers. */
export const BOND_MODES = [
  'balance-rr',
  'active-backup',
  'balance-xor',
  'broadcast',
  '802.3ad',
  'balance-tlb',
  'balance-alb',
] as const;

const member: ElementCodec<HostInterface> = lazy(() => hostInterface);

const bond = struct(() => ({
  mode: attr(oneOf(...BOND_MODES)),
  /** Milliseconds. */
  miimon: child(
    struct({ freq: attr(uint), downdelay: attr(uint), updelay: attr(uint), carrier: attr(oneOf('ioctl', 'netif')) }),
  ),
  arpmon: child(struct({ interval: attr(uint), target: attr(text), validate: attr(oneOf('active', 'backup', 'all')) })),
  interface: children(member),
}));

const bridge = struct(() => ({ stp: attr(oneOf('on', 'off')), delay: attr(text), interface: children(member) }));

const hostInterface = struct(() => ({
  type: attr(oneOf('ethernet', 'bridge', 'bond', 'vlan')),
  name: required(attr(text)),
  mtu: child(struct({ size: required(attr(uint)) })),
  link: child(struct({ speed: attr(uint), state: attr(text) })),
  mac: child(struct({ address: required(attr(text)) })),
  vlan: child(struct({ tag: required(attr(text)), interface: children(member) })),
  bridge: child(bridge),
  bond: child(bond),
}));

/** An interface as `<interface>` describes it. */
export interface HostInterface {
  type?: 'ethernet' | 'bridge' | 'bond' | 'vlan' | undefined;
  name: string;
  mtu?: { size: number } | undefined;
  link?: { speed?: number | undefined; state?: string | undefined } | undefined;
  mac?: { address: string } | undefined;
  vlan?: { tag: string; interface: HostInterface[] } | undefined;
  bridge?: Infer<typeof bridge> | undefined;
  bond?: Infer<typeof bond> | undefined;
}

/** Writes it as libvirt does. */
export function formatHostInterface(iface: HostInterface): string {
  return formatXml(hostInterface.writeElement('interface', iface));
}

/** Reads a description. @throws XmlSyntaxError, DefinitionError */
export function parseHostInterface(source: string | XmlElement): HostInterface {
  const root = source instanceof XmlElement ? source : parseXml(source).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const iface = context.inside(root.name, () => {
    if (root.name !== 'interface') context.fault(root, `the root element is <${root.name}>, not <interface>`);
    return hostInterface.readElement(root, context);
  });
  faults.throwIfAny('interface XML');
  return iface;
}
