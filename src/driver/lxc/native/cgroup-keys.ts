/** Limits of an LXC configuration: `lxc.cgroup.FILE` in the words of cgroup v1, `lxc.cgroup2.FILE` in those of v2. */
import { emptyCputune } from '../../../model/domain/vcpu.ts';
import { cpuset, ValueError } from '../../../model/schema/values.ts';
import { type Conversion, readNumber, readSize } from './conversion.ts';
import { type LxcEntry, unsupported } from './lxc-config.ts';

type Convert = (entry: LxcEntry, conversion: Conversion) => void;

/** No limit, in the words of both versions. */
const UNLIMITED = new Set(['-1', 'max']);
/** What the kernel makes of a v1 share as a v2 weight: 2..262144 onto 1..10000. */
const SHARES = { min: 2, max: 262_144, weights: 9999 };

const V1: Readonly<Record<string, Convert>> = {
  'memory.limit_in_bytes': hardLimit,
  'memory.soft_limit_in_bytes': softLimit,
  'memory.memsw.limit_in_bytes': (entry, { domain }) => {
    if (UNLIMITED.has(entry.value)) return;
    domain.memtune = { ...domain.memtune, swapHardLimit: readKiB(entry) };
  },
  'cpu.shares': (entry, { domain }) => {
    domain.cputune = { ...emptyCputune(), ...domain.cputune, shares: readNumber(entry) };
  },
  'cpu.cfs_quota_us': (entry, { domain }) => {
    domain.cputune = { ...emptyCputune(), ...domain.cputune, quota: readNumber(entry) };
  },
  'cpu.cfs_period_us': (entry, { domain }) => {
    domain.cputune = { ...emptyCputune(), ...domain.cputune, period: readNumber(entry) };
  },
  'cpuset.cpus': cpus,
  'cpuset.mems': mems,
  'blkio.weight': (entry, { domain }) => {
    domain.blkiotune = { devices: [], ...domain.blkiotune, weight: readNumber(entry) };
  },
  'blkio.device_weight': blkio('weight'),
  'blkio.weight_device': blkio('weight'),
  'blkio.throttle.read_bps_device': blkio('readBytesSec'),
  'blkio.throttle.write_bps_device': blkio('writeBytesSec'),
  'blkio.throttle.read_iops_device': blkio('readIopsSec'),
  'blkio.throttle.write_iops_device': blkio('writeIopsSec'),
};

const V2: Readonly<Record<string, Convert>> = {
  'memory.max': hardLimit,
  'memory.high': softLimit,
  'memory.swap.max': (entry, { domain }) => {
    if (UNLIMITED.has(entry.value)) return;
    // v2 counts swap alone, definitions count it with the memory.
    const { hardLimit: hard } = domain.memtune ?? {};
    if (hard === undefined) throw unsupported(`${entry.place}: ${entry.key} needs lxc.cgroup2.memory.max before it`);
    domain.memtune = { ...domain.memtune, swapHardLimit: hard + readKiB(entry) };
  },
  'cpu.weight': (entry, { domain }) => {
    const weight = readNumber(entry);
    const shares = Math.round(SHARES.min + ((weight - 1) * (SHARES.max - SHARES.min)) / SHARES.weights);
    domain.cputune = { ...emptyCputune(), ...domain.cputune, shares };
  },
  'cpu.max': (entry, { domain }) => {
    const [quota = '', period = '100000'] = entry.value.split(/\s+/);
    if (UNLIMITED.has(quota)) return;
    domain.cputune = {
      ...emptyCputune(),
      ...domain.cputune,
      quota: readNumber(entry, quota),
      period: readNumber(entry, period),
    };
  },
  'cpuset.cpus': cpus,
  'cpuset.mems': mems,
  'io.weight': (entry, { domain }) => {
    const weight = entry.value.replace(/^default\s+/, '');
    domain.blkiotune = { devices: [], ...domain.blkiotune, weight: readNumber(entry, weight) };
  },
  'io.max': (entry, conversion) => {
    const [device = '', ...limits] = entry.value.split(/\s+/);
    for (const limit of limits) {
      const [name = '', text = ''] = limit.split('=');
      const field = IO_MAX[name];
      if (field === undefined) throw unsupported(`${entry.place}: ${entry.key}: there is no limit '${name}'`);
      if (!UNLIMITED.has(text)) setDevice(device, field, readNumber(entry, text), conversion);
    }
  },
};

const IO_MAX: Readonly<Record<string, DeviceField>> = {
  rbps: 'readBytesSec',
  wbps: 'writeBytesSec',
  riops: 'readIopsSec',
  wiops: 'writeIopsSec',
};

/** One `lxc.cgroup.*` or `lxc.cgroup2.*` line. */
export function convertCgroup(entry: LxcEntry, conversion: Conversion): void {
  const [, version = '', file = ''] = /^lxc\.cgroup(2?)\.(.+)$/.exec(entry.key) ?? [];
  const convert = (version === '2' ? V2 : V1)[file];
  if (convert !== undefined) convert(entry, conversion);
  else conversion.note(entry, why(file));
}

function why(file: string): string {
  if (file.startsWith('devices.')) {
    return "containers get the devices of the definition: give one with <hostdev mode='capabilities' type='misc'>";
  }
  if (file.startsWith('dir')) return 'a place among the groups is <resource><partition>';
  return 'definitions have no such limit';
}

function hardLimit(entry: LxcEntry, { domain }: Conversion): void {
  if (UNLIMITED.has(entry.value)) return;
  const value = readKiB(entry);
  domain.memory = { value };
  domain.currentMemory = value;
  domain.memtune = { ...domain.memtune, hardLimit: value };
}

function softLimit(entry: LxcEntry, { domain }: Conversion): void {
  if (UNLIMITED.has(entry.value)) return;
  domain.memtune = { ...domain.memtune, softLimit: readKiB(entry) };
}

function readKiB(entry: LxcEntry): number {
  return Math.floor(readSize(entry) / 1024);
}

function cpus(entry: LxcEntry, { domain }: Conversion): void {
  domain.vcpu = { ...domain.vcpu, value: domain.vcpu?.value ?? 1, cpuset: readSet(entry) };
}

function mems(entry: LxcEntry, { domain }: Conversion): void {
  domain.numatune = { memory: { mode: 'strict', nodeset: readSet(entry) }, memnodes: [] };
}

function readSet({ place, key, value }: LxcEntry): number[] {
  try {
    return cpuset.parse(value);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw unsupported(`${place}: ${key} = ${value}: ${error.message}`);
  }
}

type DeviceField = 'weight' | 'readBytesSec' | 'writeBytesSec' | 'readIopsSec' | 'writeIopsSec';

/** `MAJOR:MINOR VALUE`. */
function blkio(field: DeviceField): Convert {
  return (entry, conversion) => {
    const [device, text] = entry.value.split(/[ \t]+/);
    if (device === undefined || text === undefined) {
      throw unsupported(`${entry.place}: ${entry.key} = ${entry.value}: a device and a number are needed, as 8:0 100`);
    }
    setDevice(device, field, readNumber(entry, text), conversion);
  };
}

function setDevice(number: string, field: DeviceField, value: number, { domain }: Conversion): void {
  const path = `/dev/block/${number}`;
  const devices = domain.blkiotune?.devices ?? [];
  const known = devices.find((device) => device.path === path) ?? { path };
  const others = devices.filter((device) => device.path !== path);
  const position = devices.findIndex((device) => device.path === path);
  const changed = { ...known, [field]: value };
  const next = position === -1 ? [...others, changed] : devices.with(position, changed);
  domain.blkiotune = { ...domain.blkiotune, devices: next };
}
