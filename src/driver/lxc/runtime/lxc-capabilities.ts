/** The document of `virsh -c lxc:/// capabilities`: this host, and the containers that it can run. */
import { readFileSync } from 'node:fs';
import { hostArch } from '../../../host/cpu.ts';
import { element } from '../../../xml/element.ts';
import { formatXml } from '../../../xml/format.ts';
import { LIBVIRT_CONTROLLER } from '../plan/complete-definition.ts';
import { runnableArchitectures } from '../plan/foreign.ts';
import { readForeignFacts } from './host-facts.ts';

export function formatLxcCapabilities(): string {
  const arch = hostArch();
  const facts = readForeignFacts();
  const guests = runnableArchitectures(facts, [...Object.keys(facts.emulators), ...facts.registered]);
  return formatXml(
    element(
      'capabilities',
      {},
      element('host', {}, hostUuid(), element('cpu', {}, element('arch', {}, arch))),
      ...guests.map((name) =>
        element(
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
          element('features', {}, element('privnet')),
        ),
      ),
    ),
  );
}

/** Only root may read it. */
function hostUuid(): ReturnType<typeof element> | undefined {
  try {
    return element('uuid', {}, readFileSync('/sys/class/dmi/id/product_uuid', 'utf8').trim().toLowerCase());
  } catch {
    return undefined;
  }
}
