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

/** Names whose numbers are of these types; `#` stands for digits. All others follow the value: almost all of libvirt's are ULLONG. */
const NAMES: readonly (readonly [ParamType, string])[] = [
  // Tuning.
  [INT, 'numa_mode shares thread_pool_min thread_pool_max'],
  [UINT, 'weight cap granularity poll_grow poll_shrink'],
  [UINT, 'inbound.average inbound.peak inbound.burst inbound.floor outbound.average outbound.peak outbound.burst'],
  [UINT, 'shm_pages_to_scan shm_sleep_millisecs shm_merge_across_nodes'],
  [LLONG, 'vcpu_quota emulator_quota global_quota iothread_quota reservation limit'],
  // The same as an event tells them.
  [LLONG, 'cputune.vcpu_quota cputune.emulator_quota cputune.global_quota cputune.iothread_quota'],
  // Statistics of one disk; those of all domains' disks are ULLONG and have other names.
  [LLONG, 'rd_bytes rd_operations rd_total_times wr_bytes wr_operations wr_total_times'],
  [LLONG, 'flush_operations flush_total_times errs'],
  // Statistics of all domains.
  [INT, 'state.state state.reason vcpu.#.state dirtyrate.calc_status dirtyrate.calc_period'],
  [UINT, 'vcpu.current vcpu.maximum block.#.backingIndex iothread.#.poll-grow iothread.#.poll-shrink'],
  [UINT, 'cpu.cache.monitor.#.bank.#.id memory.bandwidth.monitor.#.node.#.id'],
  [LLONG, 'dirtyrate.calc_start_time dirtyrate.megabytes_per_second'],
  [BOOLEAN, 'vcpu.#.halted'],
  // What the guest says.
  [INT, 'timezone.offset'],
  [UINT, 'if.#.addr.#.prefix'],
  [DOUBLE, 'load.#m'],
  [BOOLEAN, 'disk.#.partition'],
  // Jobs: migrating and saving.
  [INT, 'operation auto_converge_throttle disks_port parallel.connections parallel.channels'],
  [
    INT,
    'auto_converge.initial auto_converge.increment compression.mt.level compression.mt.threads compression.mt.dthreads',
  ],
  [INT, 'compression.zlib.level compression.zstd.level'],
  [BOOLEAN, 'success'],
  // Identity and encrypted memory.
  [LLONG, 'process-id'],
  [UINT, 'cbitpos reduced-phys-bits max-guests max-es-guests sev-api-major sev-api-minor sev-build-id sev-policy'],
];
const TYPES: ReadonlyMap<string, ParamType> = new Map(
  NAMES.flatMap(([type, names]) => names.split(' ').map((name) => [name, type])),
);

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
  const type = typeOf(name, value);
  if (type === DOUBLE) return { type, value: Number(value) };
  if (typeof value === 'number' && !Number.isInteger(value)) throw new XdrError(`${name}: ${value} is no whole number`);
  switch (type) {
    case LLONG:
    case ULLONG:
      return { type, value: BigInt(value) };
    case BOOLEAN:
      return { type, value: Number(value) === 0 ? 0 : 1 };
    case UINT:
      return value > UINT_MAX ? { type: ULLONG, value: BigInt(value) } : { type, value: Number(value) };
    default:
      return { type: INT, value: Number(value) };
  }
}

/** What is larger is sent as ULLONG instead, as libvirt does where a count may be. */
const UINT_MAX = 0xffff_ffff;

function typeOf(name: string, value: number | bigint): ParamType {
  const known = TYPES.get(name.replace(/\d+/g, '#'));
  if (known !== undefined) return known;
  if (name.endsWith('.count')) return UINT;
  if (typeof value === 'number' && !Number.isInteger(value)) return DOUBLE;
  return value < 0 ? LLONG : ULLONG;
}
