/** The document of `virsh -c lxc:/// capabilities`: this host, and the containers that it can run. */
import { readHostDescription } from '../../../guest/host-description.ts';
import {
  cacheElement,
  iommuElement,
  pageElements,
  powerElement,
  secmodelElement,
  topologyElement,
  uuidElement,
} from '../../../guest/host-elements.ts';
import { hostArch } from '../../../host/cpu.ts';
import { element } from '../../../xml/element.ts';
import { formatXml } from '../../../xml/format.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { LIBVIRT_CONTROLLER } from '../plan/complete-definition.ts';
import { runnableArchitectures } from '../plan/foreign.ts';
import { readForeignFacts } from './host-facts.ts';

/** `securityModel`: what labels containers get. */
export async function formatLxcCapabilities(securityModel: string): Promise<string> {
  const facts = readForeignFacts();
  const guests = runnableArchitectures(facts, [...Object.keys(facts.emulators), ...facts.registered]);
  return formatXml(element('capabilities', {}, await hostElement(securityModel), ...guests.map(guestElement)));
}

/** The processor is named only: containers use it as it is. */
async function hostElement(securityModel: string): Promise<XmlElement> {
  const host = await readHostDescription();
  return element(
    'host',
    {},
    uuidElement(host),
    element('cpu', {}, element('arch', {}, hostArch()), ...pageElements(host)),
    powerElement(host),
    iommuElement(host),
    topologyElement(host),
    cacheElement(host),
    secmodelElement(securityModel, '0'),
  );
}

function guestElement(name: string): XmlElement {
  return element(
    'guest',
    {},
    element('os_type', {}, 'exe'),
    element(
      'arch',
      { name },
      element('wordsize', {}, /64|s390x|alpha/.test(name) ? 64 : 32),
      element('emulator', {}, LIBVIRT_CONTROLLER),
      element('domain', { type: 'lxc' }),
    ),
  );
}
