/** `-smp`, and the virtual CPUs that are plugged in before the guest's first instruction (`<vcpus>`). */
import type { Domain } from '../../../model/domain/domain.ts';
import { findMachine, hasOption } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext, refuse } from '../context.ts';
import { resolveGuestCpu } from '../cpu/guest-cpu.ts';
import { archOf, isKvm, isQ35, isX86, machineOf } from '../machine.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

/** So many processors an 8-bit APIC id can tell apart. */
const MAX_CPUS_WITHOUT_EIM = 255;

/** `-smp`; processors to be plugged become deferred commands. */
export function planSmp(context: PlanContext): Part[] {
  const { domain, caps } = context;
  const maximum = domain.vcpu?.value ?? 1;
  const atBoot = bootCpus(domain);
  const topology = domain.cpu?.topology;
  const layout: Props =
    topology === undefined
      ? { sockets: maximum, cores: 1, threads: 1 }
      : {
          sockets: topology.sockets,
          dies: hasOption(caps, 'smp-opts', 'dies') ? (topology.dies ?? 1) : undefined,
          clusters: hasOption(caps, 'smp-opts', 'clusters') ? (topology.clusters ?? 1) : undefined,
          cores: topology.cores,
          threads: topology.threads,
        };
  deferHotplug(context);
  const props: Props = { cpus: atBoot, maxcpus: atBoot === maximum ? undefined : maximum, ...layout };
  return [{ kind: 'keyval', option: 'smp', props, implied: 'cpus' }];
}

/** Completes `<vcpu>` and `<vcpus>`. Placement is numatune's. */
export function fillVcpuDefaults({ domain }: DomainContext): void {
  domain.vcpu ??= { value: 1 };
  domain.vcpu.value ??= 1;
  const { vcpus } = domain;
  if (vcpus === undefined) return;
  for (const vcpu of vcpus.vcpus) vcpu.hotpluggable ??= !vcpu.enabled;
  const enabled = vcpus.vcpus.filter((vcpu) => vcpu.enabled).length;
  domain.vcpu.current = enabled === domain.vcpu.value ? undefined : enabled;
}

/** Reports faults of `<vcpu>`, `<vcpus>` and the topology. */
export function validateVcpus(context: DomainContext): void {
  const { domain, caps } = context;
  const maximum = domain.vcpu?.value ?? 1;
  const where = domain.vcpu ?? domain;
  if ((domain.vcpu?.current ?? maximum) > maximum) {
    fault(context, where, `current='${domain.vcpu?.current}' is above the maximum of ${maximum}`, '@current');
  }
  const limit = findMachine(caps, machineOf(domain), isKvm(domain) ? 'kvm' : 'tcg')?.cpuMax;
  if (limit !== undefined && limit > 0 && maximum > limit) {
    fault(context, where, `machine '${machineOf(domain)}' has at most ${limit} processors, not ${maximum}`);
  }
  if (isX86(domain) && maximum > MAX_CPUS_WITHOUT_EIM) validateManyCpus(context, where);
  validateTopology(context, maximum);
  validateIndividual(context, maximum);
}

/** Processors that are there when the firmware starts: all that are not plugged one by one. */
function bootCpus({ vcpu, vcpus }: Domain): number {
  const maximum = vcpu?.value ?? 1;
  if (vcpus === undefined) return vcpu?.current ?? maximum;
  return vcpus.vcpus.filter(({ enabled, hotpluggable }) => enabled && hotpluggable !== true).length;
}

function deferHotplug(context: PlanContext): void {
  const { domain } = context;
  const plugged = (domain.vcpus?.vcpus ?? []).filter(({ enabled, hotpluggable }) => enabled && hotpluggable === true);
  // Without an order all are equal, and the ids decide.
  plugged.sort((a, b) => (a.order ?? 0) - (b.order ?? 0) || a.id - b.id);
  for (const { id } of plugged) {
    context.deferred.push({
      command: 'device_add',
      arguments: { driver: cpuDriver(context), id: `vcpu${id}`, ...placeOf(domain, id) },
    });
  }
}

/** QOM type of the guest's processor. */
function cpuDriver(context: PlanContext): string {
  const { caps, domain } = context;
  const accelerator = isKvm(domain) ? 'kvm' : 'tcg';
  const machineType = findMachine(caps, machineOf(domain), accelerator)?.defaultCpuType;
  const name = resolveGuestCpu(context)?.model;
  if (name === undefined) return machineType ?? `qemu64-${caps.arch}-cpu`;
  const known = caps.accelerators[accelerator]?.cpus.find((cpu) => cpu.name === name);
  return known?.typename ?? `${name}-${caps.arch}-cpu`;
}

/** Where a processor sits; QEMU numbers threads first, then cores, up to sockets. */
function placeOf(domain: Domain, id: number): Props {
  if (archOf(domain) === 's390x') return { 'core-id': id };
  if (!isX86(domain)) {
    return refuse(`virtual CPU ${id}: processors of ${archOf(domain)} cannot be plugged one by one; remove <vcpus>`);
  }
  const { dies = 1, clusters = 1, cores = 1, threads = 1 } = domain.cpu?.topology ?? {};
  const core = Math.floor(id / threads);
  const module = Math.floor(core / cores);
  const die = Math.floor(module / clusters);
  return {
    'socket-id': Math.floor(die / dies),
    'die-id': dies > 1 ? die % dies : undefined,
    'module-id': clusters > 1 ? module % clusters : undefined,
    'core-id': core % cores,
    'thread-id': id % threads,
  };
}

function validateManyCpus(context: DomainContext, where: object): void {
  const { domain } = context;
  const hasEim = domain.devices?.iommus.some(({ driver }) => driver?.eim === true) === true;
  if (!isQ35(domain)) {
    fault(context, where, `more than ${MAX_CPUS_WITHOUT_EIM} processors need a q35 machine`);
  } else if (!hasEim) {
    fault(context, where, `more than ${MAX_CPUS_WITHOUT_EIM} processors need an <iommu> with eim='on'`);
  }
}

function validateTopology(context: DomainContext, maximum: number): void {
  const { caps, domain } = context;
  const { cpu } = domain;
  const topology = cpu?.topology;
  if (cpu === undefined || topology === undefined) return;
  const { sockets, dies = 1, clusters = 1, cores, threads } = topology;
  const total = sockets * dies * clusters * cores * threads;
  if (total !== maximum) {
    fault(context, topology, `the topology has ${total} processors, <vcpu> has ${maximum}`);
  }
  if (dies > 1 && !hasOption(caps, 'smp-opts', 'dies')) {
    fault(context, topology, `${caps.binary} has one die in a socket only`, '@dies');
  }
  if (clusters > 1 && !hasOption(caps, 'smp-opts', 'clusters')) {
    fault(context, topology, `${caps.binary} has one cluster in a die only`, '@clusters');
  }
}

function validateIndividual(context: DomainContext, maximum: number): void {
  const { vcpus } = context.domain;
  if (vcpus === undefined) return;
  const ids = new Set<number>();
  const orders = new Set<number>();
  for (const vcpu of vcpus.vcpus) {
    if (vcpu.id >= maximum) fault(context, vcpu, `the guest has no virtual CPU ${vcpu.id}`, '@id');
    if (ids.has(vcpu.id)) fault(context, vcpu, `virtual CPU ${vcpu.id} is given more than once`, '@id');
    ids.add(vcpu.id);
    if (!vcpu.enabled && vcpu.hotpluggable === false) {
      fault(context, vcpu, `virtual CPU ${vcpu.id} is absent and cannot be plugged`, '@hotpluggable');
    }
    if (vcpu.enabled && vcpu.order !== undefined) {
      if (orders.has(vcpu.order)) fault(context, vcpu, `order ${vcpu.order} is given more than once`, '@order');
      orders.add(vcpu.order);
    }
  }
  const first = vcpus.vcpus.find(({ id }) => id === 0);
  if (first !== undefined && (!first.enabled || first.hotpluggable === true)) {
    fault(context, first, 'virtual CPU 0 must be there from the start');
  }
}
