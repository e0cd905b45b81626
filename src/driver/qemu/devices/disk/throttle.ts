/** Traffic limits: `<iotune>` as arguments of a QMP command, `<throttlegroups>` as objects of their own. */
import type { IoLimits } from '../../../../model/domain/devices/disk.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';

type LimitName = Exclude<keyof IoLimits, 'groupName'>;

/** libvirt's name, `block_set_io_throttle`'s, and the throttle group's. */
const LIMITS: readonly (readonly [LimitName, string, string])[] = [
  ['totalBytesSec', 'bps', 'bps-total'],
  ['readBytesSec', 'bps_rd', 'bps-read'],
  ['writeBytesSec', 'bps_wr', 'bps-write'],
  ['totalIopsSec', 'iops', 'iops-total'],
  ['readIopsSec', 'iops_rd', 'iops-read'],
  ['writeIopsSec', 'iops_wr', 'iops-write'],
  ['totalBytesSecMax', 'bps_max', 'bps-total-max'],
  ['readBytesSecMax', 'bps_rd_max', 'bps-read-max'],
  ['writeBytesSecMax', 'bps_wr_max', 'bps-write-max'],
  ['totalIopsSecMax', 'iops_max', 'iops-total-max'],
  ['readIopsSecMax', 'iops_rd_max', 'iops-read-max'],
  ['writeIopsSecMax', 'iops_wr_max', 'iops-write-max'],
  ['sizeIopsSec', 'iops_size', 'iops-size'],
];

const LENGTHS: readonly (readonly [LimitName, string, string])[] = [
  ['totalBytesSecMaxLength', 'bps_max_length', 'bps-total-max-length'],
  ['readBytesSecMaxLength', 'bps_rd_max_length', 'bps-read-max-length'],
  ['writeBytesSecMaxLength', 'bps_wr_max_length', 'bps-write-max-length'],
  ['totalIopsSecMaxLength', 'iops_max_length', 'iops-total-max-length'],
  ['readIopsSecMaxLength', 'iops_rd_max_length', 'iops-read-max-length'],
  ['writeIopsSecMaxLength', 'iops_wr_max_length', 'iops-write-max-length'],
];

/** Id of the object of a throttle group. */
export function throttleGroupId(name: string): string {
  return `throttle-${name}`;
}

/** Arguments of `block_set_io_throttle` apart from `id`; empty where nothing is limited. */
export function throttleArguments(limits: IoLimits): Props {
  if (!hasLimits(limits)) return {};
  return {
    ...Object.fromEntries(LIMITS.map(([name, argument]) => [argument, limits[name] ?? 0])),
    ...Object.fromEntries(setLengths(limits).map(([name, argument]) => [argument, limits[name]])),
    group: limits.groupName,
  };
}

/** Anything is limited. */
export function hasLimits(limits: IoLimits): boolean {
  return [...LIMITS, ...LENGTHS].some(([name]) => (limits[name] ?? 0) > 0);
}

/** Both limit the same. */
export function sameLimits(one: IoLimits, other: IoLimits): boolean {
  return [...LIMITS, ...LENGTHS].every(([name]) => (one[name] ?? 0) === (other[name] ?? 0));
}

/** The object of one throttle group; unset limits are 0, which is none. */
export function planThrottleGroup(limits: IoLimits): Part {
  const values = {
    ...Object.fromEntries(LIMITS.map(([name, , property]) => [property, limits[name] ?? 0])),
    ...Object.fromEntries(setLengths(limits).map(([name, , property]) => [property, limits[name]])),
  };
  return {
    kind: 'object',
    props: { 'qom-type': 'throttle-group', id: throttleGroupId(limits.groupName ?? ''), limits: values },
  };
}

/** What is wrong with a set of limits, in words; undefined: nothing. */
export function limitsProblem(limits: IoLimits): string | undefined {
  const set = (name: LimitName) => (limits[name] ?? 0) > 0;
  for (const [total, read, write] of EXCLUSIVE) {
    if (set(total) && (set(read) || set(write))) {
      return `${xmlName(total)} cannot stand beside ${xmlName(read)} or ${xmlName(write)}: leave out the total`;
    }
  }
  for (const [name] of [...LIMITS, ...LENGTHS]) {
    if ((limits[name] ?? 0) > MAX_LIMIT) return `${xmlName(name)} is above ${MAX_LIMIT}, the highest limit of QEMU`;
  }
  return undefined;
}

/** Above this QEMU refuses a limit. */
const MAX_LIMIT = 1_000_000_000_000_000;

const EXCLUSIVE: readonly (readonly [LimitName, LimitName, LimitName])[] = [
  ['totalBytesSec', 'readBytesSec', 'writeBytesSec'],
  ['totalIopsSec', 'readIopsSec', 'writeIopsSec'],
  ['totalBytesSecMax', 'readBytesSecMax', 'writeBytesSecMax'],
  ['totalIopsSecMax', 'readIopsSecMax', 'writeIopsSecMax'],
];

function setLengths(limits: IoLimits) {
  return LENGTHS.filter(([name]) => (limits[name] ?? 0) > 0);
}

function xmlName(name: string): string {
  return `<${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}>`;
}
