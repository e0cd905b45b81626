/**
 * Typed parameters: plain records on our side, name, type and value on the wire. Clients ask for parameters by name *and* type, so
 * a table says which type libvirt gives each name.
 */
import type { Value } from '../xdr/codec.ts';
import { XdrError } from '../xdr/error.ts';
import { ParamType, type typedParam } from './structs.ts';

export type TypedParam = Value<typeof typedParam>;
/** As the driver contract has them. */
export type ParamRecord = Readonly<Record<string, number | bigint | string | boolean>>;

const { INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING } = ParamType;

/** libvirt's type of each name; the first that matches counts. What no row names follows the value. */
const TYPES: readonly (readonly [RegExp, ParamType])[] = [
  // Scheduler, memory, block and NUMA tuning.
  [/^(?:cputune\.)?(?:vcpu|emulator|global|iothread)_quota$/, LLONG],
  [/^weight$/, UINT],
  [/^numa_mode$/, INT],
  [/^(?:inbound|outbound)\.\w+$/, UINT],
  [/^shm_(?:pages_to_scan|sleep_millisecs|merge_across_nodes)$/, UINT],
  // Statistics of one disk (virDomainBlockStatsFlags).
  [/^(?:rd|wr|flush)_(?:bytes|operations|total_times)$|^errs$/, LLONG],
  // Bulk statistics.
  [/^state\.(?:state|reason)$/, INT],
  [/\.count$/, UINT],
  [/^vcpu\.(?:current|maximum)$/, UINT],
  [/^vcpu\.\d+\.state$/, INT],
  [/^vcpu\.\d+\.halted$/, BOOLEAN],
  [/^block\.\d+\.backingIndex$/, UINT],
  [/^iothread\.\d+\.poll-(?:grow|shrink)$/, UINT],
  [/^dirtyrate\.calc_(?:status|period)$/, INT],
  [/^dirtyrate\.(?:calc_start_time|megabytes_per_second|vcpu\.\d+\.megabytes_per_second)$/, LLONG],
  // The guest's own word.
  [/^timezone\.offset$/, INT],
  [/^if\.\d+\.addr\.\d+\.prefix$/, UINT],
  [/^(?:disk\.\d+\.partition|disk\.\d+\.dependency)$/, BOOLEAN],
  [/^load\.\d+m$/, DOUBLE],
  // Jobs.
  [/^operation$|^auto_converge_throttle$/, INT],
  [/^(?:time_elapsed|downtime)_net$/, LLONG],
  [/^success$/, BOOLEAN],
];

/** Parameters in the record's order. @throws XdrError for a value that its type cannot hold */
export function toTypedParams(record: ParamRecord): TypedParam[] {
  return Object.entries(record).map(([field, value]) => ({ field, value: toValue(field, value) }));
}

export function fromTypedParams(params: readonly TypedParam[]): Record<string, number | bigint | string | boolean> {
  const record: Record<string, number | bigint | string | boolean> = {};
  for (const { field, value } of params) record[field] = value.type === BOOLEAN ? value.value !== 0 : value.value;
  return record;
}

function toValue(name: string, value: ParamRecord[string]): TypedParam['value'] {
  if (typeof value === 'string') return { type: STRING, value };
  if (typeof value === 'boolean') return { type: BOOLEAN, value: value ? 1 : 0 };
  const type = TYPES.find(([pattern]) => pattern.test(name))?.[1] ?? typeOf(value);
  if (type === DOUBLE) return { type, value: Number(value) };
  if (typeof value === 'number' && !Number.isInteger(value)) throw new XdrError(`${name}: ${value} is no whole number`);
  switch (type) {
    case LLONG:
    case ULLONG:
      return { type, value: BigInt(value) };
    case BOOLEAN:
      return { type, value: Number(value) === 0 ? 0 : 1 };
    default:
      return { type: type === UINT ? UINT : INT, value: Number(value) };
  }
}

/** Almost all numbers of libvirt are unsigned and long. */
function typeOf(value: number | bigint): ParamType {
  if (typeof value === 'number' && !Number.isInteger(value)) return DOUBLE;
  return value < 0 ? LLONG : ULLONG;
}
