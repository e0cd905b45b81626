/**
 * libvirt's typed parameters of memory, scheduler and block I/O tuning, and the elements of the definition that they stand for. Two
 * tables and a text format; changing cgroups is not done here.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { TypedParameters } from '../../driver/driver.ts';
import type { Domain } from '../../model/domain/domain.ts';
import { emptyCputune } from '../../model/domain/vcpu.ts';

/** More than the kernel can count: no limit (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`), in KiB. */
export const MEMORY_UNLIMITED_KIB = 9_007_199_254_740_991;

const MEMORY_FIELDS = {
  hard_limit: 'hardLimit',
  soft_limit: 'softLimit',
  min_guarantee: 'minGuarantee',
  swap_hard_limit: 'swapHardLimit',
} as const;

const SCHEDULER_FIELDS = {
  cpu_shares: 'shares',
  vcpu_period: 'period',
  vcpu_quota: 'quota',
  emulator_period: 'emulatorPeriod',
  emulator_quota: 'emulatorQuota',
  global_period: 'globalPeriod',
  global_quota: 'globalQuota',
  iothread_period: 'iothreadPeriod',
  iothread_quota: 'iothreadQuota',
} as const;

const BLKIO_DEVICE_FIELDS = {
  device_weight: 'weight',
  device_read_iops_sec: 'readIopsSec',
  device_write_iops_sec: 'writeIopsSec',
  device_read_bytes_sec: 'readBytesSec',
  device_write_bytes_sec: 'writeBytesSec',
} as const;

/** µs; what the kernel's CFS bandwidth control takes, 0 standing for its default. */
const PERIOD_RANGE = { min: 1000, max: 1_000_000 };
const QUOTA_RANGE = { min: 1000, max: 17_592_186_044_415 };

/** As virDomainGetMemoryParameters: what is not limited is unlimited. */
export function memoryParametersOf({ memtune }: Domain): TypedParameters {
  const { hardLimit, softLimit, swapHardLimit } = memtune ?? {};
  return {
    hard_limit: hardLimit ?? MEMORY_UNLIMITED_KIB,
    soft_limit: softLimit ?? MEMORY_UNLIMITED_KIB,
    swap_hard_limit: swapHardLimit ?? MEMORY_UNLIMITED_KIB,
  };
}

/** As virDomainGetSchedulerParameters of a definition: 0 is the kernel's default. */
export function schedulerParametersOf({ cputune }: Domain): TypedParameters {
  return Object.fromEntries(Object.entries(SCHEDULER_FIELDS).map(([name, field]) => [name, cputune?.[field] ?? 0]));
}

/** As virDomainGetBlkioParameters: `device_…` are `PATH,VALUE,PATH,VALUE`. */
export function blkioParametersOf({ blkiotune }: Domain): TypedParameters {
  const lists = Object.entries(BLKIO_DEVICE_FIELDS).map(([name, field]): [string, string] => {
    const values = (blkiotune?.devices ?? []).flatMap((device) => {
      const value = device[field];
      return value === undefined ? [] : [`${device.path},${value}`];
    });
    return [name, values.join(',')];
  });
  return { weight: blkiotune?.weight ?? 0, ...Object.fromEntries(lists) };
}

/** @throws VirtError INVALID_ARG: unknown name, wrong type, contradiction */
export function setMemoryParameters(domain: Domain, parameters: TypedParameters): void {
  requireKnown('memory', parameters, Object.keys(MEMORY_FIELDS));
  const memtune = { ...domain.memtune };
  for (const [name, field] of entriesOf(MEMORY_FIELDS)) {
    const value = numberOf(parameters, name, { min: 0, max: Number.MAX_SAFE_INTEGER });
    if (value === undefined) continue;
    if (value >= MEMORY_UNLIMITED_KIB) delete memtune[field];
    else memtune[field] = value;
  }
  const { hardLimit, swapHardLimit } = memtune;
  if (swapHardLimit !== undefined && (hardLimit ?? Number.POSITIVE_INFINITY) > swapHardLimit) {
    throw invalid(
      `swap_hard_limit (${swapHardLimit} KiB) limits memory and swap together, so it cannot be below hard_limit (${hardLimit === undefined ? 'unlimited' : `${hardLimit} KiB`})`,
    );
  }
  domain.memtune = memtune;
}

/** @throws VirtError INVALID_ARG */
export function setSchedulerParameters(domain: Domain, parameters: TypedParameters): void {
  requireKnown('scheduler', parameters, Object.keys(SCHEDULER_FIELDS));
  const cputune = domain.cputune ?? emptyCputune();
  for (const [name, field] of entriesOf(SCHEDULER_FIELDS)) {
    const value = schedulerValue(parameters, name);
    if (value === undefined) continue;
    if (value === 0) delete cputune[field];
    else cputune[field] = value;
  }
  domain.cputune = cputune;
}

/** @throws VirtError INVALID_ARG */
export function setBlkioParameters(domain: Domain, parameters: TypedParameters): void {
  requireKnown('blkio', parameters, ['weight', ...Object.keys(BLKIO_DEVICE_FIELDS)]);
  const blkiotune = { devices: [], ...structuredClone(domain.blkiotune) };
  const weight = numberOf(parameters, 'weight', { min: 0, max: 10_000 });
  if (weight === 0) delete blkiotune.weight;
  else if (weight !== undefined) blkiotune.weight = weight;
  for (const [name, field] of entriesOf(BLKIO_DEVICE_FIELDS)) {
    for (const { path, value } of devicePairs(parameters[name], name)) {
      let device = blkiotune.devices.find((candidate) => candidate.path === path);
      if (device === undefined) blkiotune.devices.push((device = { path }));
      if (value === 0) delete device[field];
      else device[field] = value;
    }
  }
  blkiotune.devices = blkiotune.devices.filter((device) => Object.keys(device).length > 1);
  domain.blkiotune = blkiotune;
}

function schedulerValue(parameters: TypedParameters, name: string): number | undefined {
  if (name === 'cpu_shares') return numberOf(parameters, name, { min: 0, max: 262_144 });
  const isQuota = name.endsWith('_quota');
  const value = numberOf(parameters, name, { min: isQuota ? -0x8000_0000 : 0, max: Number.MAX_SAFE_INTEGER });
  const range = isQuota ? QUOTA_RANGE : PERIOD_RANGE;
  if (value === undefined || value <= 0 || (value >= range.min && value <= range.max)) return value;
  throw invalid(`${name} takes ${range.min} to ${range.max} µs, not ${value}`);
}

function devicePairs(text: unknown, name: string): { path: string; value: number }[] {
  if (text === undefined) return [];
  if (typeof text !== 'string') throw invalid(`${name} takes a text: PATH,VALUE,PATH,VALUE`);
  const fields = text === '' ? [] : text.split(',');
  const pairs: { path: string; value: number }[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const [path = '', digits = ''] = fields.slice(index, index + 2);
    const value = Number(digits);
    if (!path.startsWith('/') || digits === '' || !Number.isSafeInteger(value) || value < 0) {
      throw invalid(`${name} takes PATH,VALUE,PATH,VALUE with absolute paths, not '${text}'`);
    }
    pairs.push({ path, value });
  }
  return pairs;
}

function numberOf(parameters: TypedParameters, name: string, range: { min: number; max: number }): number | undefined {
  const given = parameters[name];
  if (given === undefined) return undefined;
  const value = typeof given === 'bigint' ? Number(given) : given;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < range.min) {
    throw invalid(`${name} takes a whole number from ${range.min} on, not ${String(given)}`);
  }
  return Math.min(value, range.max);
}

function requireKnown(what: string, parameters: TypedParameters, known: readonly string[]): void {
  const unknown = Object.keys(parameters).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`there is no ${what} parameter '${unknown}': ${known.join(', ')}`);
}

function entriesOf<T extends Readonly<Record<string, string>>>(table: T): [keyof T & string, T[keyof T]][] {
  // Object.entries forgets which keys there are.
  return Object.entries(table) as [keyof T & string, T[keyof T]][];
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}
