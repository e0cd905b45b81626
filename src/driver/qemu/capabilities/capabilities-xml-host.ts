/** The `<host>` part of capabilities, made of host facts. Pure; the facts are read by `capabilities-xml-host-facts.ts`. */
import {
  cacheElement,
  type HostDescription,
  iommuElement,
  pageElements,
  powerElement,
  secmodelElement,
  topologyElement,
  uuidElement,
} from '../../../guest/host-elements.ts';
import type { HostCpu, HostProcessor } from '../../../host/cpu.ts';
import { element } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { type HostProcessorFacts, nameHost } from '../cpu/host-processor.ts';
import { isX86Arch } from './capabilities-xml-arch.ts';
import { libvirtFeature } from './capabilities-xml-cpu-models.ts';

/** What `<host>` tells. */
export interface CapabilitiesHost extends HostDescription {
  /** libvirt's name. */
  readonly arch: string;
  readonly cpu: HostCpu;
  /** Of an x86 host. */
  readonly processor: HostProcessorFacts | undefined;
  readonly physicalAddressBits: number | undefined;
}

export function hostElement(host: CapabilitiesHost): XmlElement {
  return element(
    'host',
    {},
    uuidElement(host),
    cpuElement(host),
    powerElement(host),
    iommuElement(host),
    // No `<live/>`: guests of an embedded connection end with their process.
    element('migration_features'),
    topologyElement(host),
    cacheElement(host),
    secmodelElement('none', '0'),
  );
}

function cpuElement(host: CapabilitiesHost): XmlElement {
  const { cpu, topology } = host;
  const x86 = isX86Arch(host.arch);
  const { family, model, stepping, microcode } = cpu;
  const { processor } = host;
  const named = processor === undefined ? undefined : nameHost(processor);
  return element(
    'cpu',
    {},
    element('arch', {}, host.arch),
    named === undefined ? undefined : element('model', {}, named.model),
    processor?.vendor === undefined ? undefined : element('vendor', {}, processor.vendor),
    microcode === undefined ? undefined : element('microcode', { version: Number(microcode) }),
    x86 && family !== undefined ? element('signature', { family, model, stepping }) : undefined,
    element('topology', {
      sockets: topology.sockets,
      dies: diesOf(topology.cpus),
      cores: topology.cores,
      threads: topology.threads,
    }),
    host.physicalAddressBits === undefined
      ? undefined
      : element('maxphysaddr', { mode: 'emulate', bits: host.physicalAddressBits }),
    ...(named?.extra ?? []).map((feature) => element('feature', { name: libvirtFeature(feature) })),
    ...pageElements(host),
  );
}

/** Dies of the first socket. */
function diesOf(cpus: readonly HostProcessor[]): number {
  return Math.max(1, new Set(cpus.filter(({ socket }) => socket === cpus[0]?.socket).map(({ die }) => die)).size);
}
