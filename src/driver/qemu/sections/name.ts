/** Who the guest is: `-name`, `-uuid` and the generation id. Its defaults are in `definition/machine-defaults.ts`. */
import { hasDevice, hasOption } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';

/** `-name`, with the threads named so that tuning and debugging find them. */
export function planName(context: PlanContext): Part[] {
  const process = context.config.setProcessName ? `qemu:${context.name}` : undefined;
  const debugThreads = hasOption(context.caps, 'name', 'debug-threads') ? true : undefined;
  return [{ kind: 'keyval', option: 'name', props: { guest: context.name, process, 'debug-threads': debugThreads } }];
}

/** `-uuid`. */
export function planUuid({ domain }: PlanContext): Part[] {
  return domain.uuid === undefined ? [] : [{ kind: 'option', option: 'uuid', value: domain.uuid }];
}

/** The virtual machine generation id, by which guests notice that they were cloned or rolled back. */
export function planGenid({ domain }: PlanContext): Part[] {
  if (domain.genid?.value === undefined) return [];
  return [{ kind: 'device', props: { driver: 'vmgenid', guid: domain.genid.value, id: 'vmgenid0' } }];
}

/** Name and generation id. */
export function validateName(context: DomainContext): void {
  const { domain, caps } = context;
  if (domain.name === undefined || domain.name === '') fault(context, domain, 'the domain has no <name>: give it one');
  else if (/[/\n]/.test(domain.name)) fault(context, domain, "a name may not contain '/' or a line break", 'name');
  if (domain.genid !== undefined && !hasDevice(caps, 'vmgenid')) {
    fault(context, domain.genid, 'this QEMU has no vmgenid device: remove <genid>');
  }
}
