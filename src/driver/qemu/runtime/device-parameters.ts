/**
 * libvirt's typed parameters of NUMA placement, disk throttling and interface bandwidth, and the elements of the definition that they
 * stand for. Changes definitions only.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { parseCpuList } from '../../../host/cpu.ts';
import type { Disk, IoLimits } from '../../../model/domain/devices/disk.ts';
import type { NetworkInterface as Interface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { PERF_EVENTS } from '../../../model/domain/perf.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { formatCpuList } from '../../../xml/element.ts';
import { bandwidthParametersOf, changeBandwidth } from '../../bandwidth-parameters.ts';
import type { TypedParameters } from '../../driver.ts';
import { limitsProblem, throttleArguments } from '../devices/disk/throttle.ts';

/** virDomainNumatuneMemMode by number. */
const NUMA_MODES = ['strict', 'preferred', 'interleave', 'restrictive'] as const;

/** libvirt's parameter names of `<iotune>`, in the order in which virsh shows them. */
const IO_LIMITS = {
  total_bytes_sec: 'totalBytesSec',
  read_bytes_sec: 'readBytesSec',
  write_bytes_sec: 'writeBytesSec',
  total_iops_sec: 'totalIopsSec',
  read_iops_sec: 'readIopsSec',
  write_iops_sec: 'writeIopsSec',
  total_bytes_sec_max: 'totalBytesSecMax',
  read_bytes_sec_max: 'readBytesSecMax',
  write_bytes_sec_max: 'writeBytesSecMax',
  total_iops_sec_max: 'totalIopsSecMax',
  read_iops_sec_max: 'readIopsSecMax',
  write_iops_sec_max: 'writeIopsSecMax',
  size_iops_sec: 'sizeIopsSec',
  total_bytes_sec_max_length: 'totalBytesSecMaxLength',
  read_bytes_sec_max_length: 'readBytesSecMaxLength',
  write_bytes_sec_max_length: 'writeBytesSecMaxLength',
  total_iops_sec_max_length: 'totalIopsSecMaxLength',
  read_iops_sec_max_length: 'readIopsSecMaxLength',
  write_iops_sec_max_length: 'writeIopsSecMaxLength',
} as const satisfies Record<string, keyof IoLimits>;

/** Types of interfaces whose end on this host the kernel can shape. */
const SHAPED: ReadonlySet<string> = new Set(['bridge', 'network', 'direct', 'ethernet']);

export function numaParametersOf({ numatune }: Domain): TypedParameters {
  const { mode = 'strict', nodeset } = numatune?.memory ?? {};
  return { numa_mode: NUMA_MODES.indexOf(mode), numa_nodeset: nodeset === undefined ? '' : formatCpuList(nodeset) };
}

/**
 * What can be changed of a running guest: the nodes of a guest that no other part of QEMU has bound.
 * @returns the nodes that its memory is to come from from now on; undefined: as before
 * @throws VirtError OPERATION_INVALID, CONFIG_UNSUPPORTED for a node that the host does not have
 */
export function liveNumaNodes(
  { numatune }: Domain,
  parameters: TypedParameters,
  hostNodes: readonly number[],
): readonly number[] | undefined {
  const mode = numatune?.memory === undefined ? undefined : (numatune.memory.mode ?? 'strict');
  const wanted = parameters['numa_mode'];
  if (wanted !== undefined && mode !== undefined && NUMA_MODES[Number(wanted)] !== mode) {
    throw notNow("can't change numatune mode for running domain");
  }
  if (parameters['numa_nodeset'] === undefined) return undefined;
  if (mode !== undefined && mode !== 'restrictive') {
    throw notNow(
      `change of nodeset for running domain requires restrictive numa mode: its mode is ${mode}; change its next start (--config)`,
    );
  }
  const nodes = nodesOf(parameters['numa_nodeset']);
  const missing = nodes.find((node) => !hostNodes.includes(node));
  if (missing === undefined) return nodes;
  throw new VirtError(`NUMA node ${missing} is unavailable: the host has ${formatCpuList(hostNodes)}`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.QEMU,
  });
}

function nodesOf(text: unknown): number[] {
  const nodes = parseCpuList(String(text));
  if (nodes.length > 0) return nodes;
  throw notNow(`Invalid nodeset of 'numatune': ${String(text)}`);
}

function notNow(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}

export function setNumaParameters(domain: Domain, parameters: TypedParameters): void {
  requireKnown(parameters, ['numa_nodeset', 'numa_mode']);
  const memory = { ...domain.numatune?.memory };
  if (parameters['numa_mode'] !== undefined) {
    const mode = NUMA_MODES[Number(parameters['numa_mode'])];
    if (mode === undefined) throw invalid(`numa_mode is 0 to 3, not ${String(parameters['numa_mode'])}`);
    memory.mode = mode;
  }
  if (parameters['numa_nodeset'] !== undefined) {
    memory.mode ??= 'strict';
    memory.placement = 'static';
    memory.nodeset = nodesOf(parameters['numa_nodeset']);
  }
  domain.numatune = { memnodes: [], ...domain.numatune, memory };
}

/** @throws VirtError INVALID_ARG for an event that there is not */
export function setPerfEvents(domain: Domain, events: Readonly<Record<string, boolean>>): void {
  requireKnown(events, PERF_EVENTS);
  const named = new Map((domain.perf?.events ?? []).map((event) => [event.name, event.enabled]));
  for (const name of PERF_EVENTS) {
    const enabled = events[name];
    if (enabled !== undefined) named.set(name, enabled);
  }
  domain.perf = { events: [...named].map(([name, enabled]) => ({ name, enabled })) };
}

export function blockIoTuneOf({ iotune }: Disk): TypedParameters {
  const limits = Object.entries(IO_LIMITS).map(([name, field]): [string, bigint | string] => [
    name,
    BigInt(iotune?.[field] ?? 0),
  ]);
  // libvirt has the group's name behind the size.
  limits.splice(13, 0, ['group_name', iotune?.groupName ?? '']);
  return Object.fromEntries(limits);
}

/** A total takes the place of reads and writes, and they of it, as in libvirt. */
export function setBlockIoTune(disk: Disk, parameters: TypedParameters): void {
  requireKnown(parameters, [...Object.keys(IO_LIMITS), 'group_name']);
  const limits: Record<string, number | string | undefined> = { ...disk.iotune };
  for (const [name, field] of Object.entries(IO_LIMITS)) {
    const value = parameters[name];
    if (value === undefined) continue;
    if (typeof value === 'string' || Number(value) < 0) throw invalid(`${name} is a number from 0 on`);
    limits[field] = Number(value);
  }
  if (parameters['group_name'] !== undefined && parameters['group_name'] !== '') {
    limits['groupName'] = String(parameters['group_name']);
  }
  for (const [total, parts] of OPPOSITES) {
    if (total in parameters && Number(parameters[total]) > 0) for (const part of parts) delete limits[IO_LIMITS[part]];
    else if (parts.some((part) => Number(parameters[part] ?? 0) > 0)) delete limits[IO_LIMITS[total]];
  }
  const problem = limitsProblem(limits);
  if (problem !== undefined) throw invalid(problem);
  disk.iotune = limits;
}

const OPPOSITES = [
  ['total_bytes_sec', ['read_bytes_sec', 'write_bytes_sec']],
  ['total_iops_sec', ['read_iops_sec', 'write_iops_sec']],
  ['total_bytes_sec_max', ['read_bytes_sec_max', 'write_bytes_sec_max']],
  ['total_iops_sec_max', ['read_iops_sec_max', 'write_iops_sec_max']],
] as const;

/** Arguments of `block_set_io_throttle` but the disk; all zero lifts every limit. */
export function throttleCommand(limits: IoLimits): JsonObject {
  const none = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 };
  const given = Object.entries(throttleArguments(limits)).filter(([, value]) => value !== undefined);
  return { ...none, ...Object.fromEntries(given) };
}

/** By its name on the host or its MAC. @throws VirtError INVALID_ARG */
export function findInterface(domain: Domain, device: string): Interface {
  const found = (domain.devices?.interfaces ?? []).find(
    ({ target, mac }) => target?.dev === device || mac?.address?.toLowerCase() === device.toLowerCase(),
  );
  if (found === undefined) throw invalid(`the domain has no interface '${device}'`);
  return found;
}

export function interfaceParametersOf({ bandwidth }: Interface): TypedParameters {
  return bandwidthParametersOf(bandwidth, { all: true });
}

export function setInterfaceParameters(device: Interface, parameters: TypedParameters): void {
  const bandwidth = changeBandwidth(device.bandwidth, parameters, ErrorDomain.QEMU);
  if (!SHAPED.has(device.type ?? '')) {
    throw new VirtError(
      `setting bandwidth on interfaces of type '${device.type ?? ''}' is not possible: they have no end on the host`,
      {
        code: ErrorCode.CONFIG_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      },
    );
  }
  device.bandwidth = bandwidth;
}

function requireKnown(parameters: TypedParameters, known: readonly string[]): void {
  const unknown = Object.keys(parameters).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`parameter '${unknown}' not supported`);
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}
