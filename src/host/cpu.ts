/**
 * The host's processor, memory and NUMA layout as /proc and /sys tell them. Facts only: nothing is derived for a guest.
 */
import { readFileSync } from 'node:fs';
import { machine } from 'node:os';
import { join } from 'node:path';
import { listNames } from '../core/list-names.ts';

/** Where to look; tests give folders of their own. */
export interface SystemRoots {
  readonly proc?: string;
  readonly sys?: string;
}

/** The first processor of /proc/cpuinfo; absent fields are unknown to the architecture. */
export interface HostCpu {
  /** `GenuineIntel`, `AuthenticAMD`, an ARM implementer code, … */
  readonly vendor?: string;
  readonly family?: number;
  readonly model?: number;
  readonly stepping?: number;
  readonly modelName?: string;
  readonly microcode?: string;
  readonly flags: readonly string[];
}

/** One NUMA node. Distances are the kernel's, by node in the order of `readNumaNodes`. */
export interface NumaNode {
  readonly id: number;
  readonly cpus: readonly number[];
  readonly memoryKiB: number;
  readonly distances: readonly number[];
  readonly hugePages: readonly { readonly sizeKiB: number; readonly total: number; readonly free: number }[];
}

/** Online processors and how they hang together. */
export interface HostTopology {
  readonly cpus: readonly HostProcessor[];
  readonly sockets: number;
  /** Cores of one socket, threads of one core: of the first, as libvirt reports it. */
  readonly cores: number;
  readonly threads: number;
}

/** One online processor. Ids are -1 where the kernel does not know. */
export interface HostProcessor {
  readonly id: number;
  readonly socket: number;
  readonly die: number;
  readonly core: number;
  readonly siblings: readonly number[];
}

/** The host's architecture under QEMU's name (`x86_64`, `aarch64`, `i386`, …). */
export function hostArch(name = machine()): string {
  if (/^i[3-6]86$/.test(name)) return 'i386';
  if (/^armv[5-8]/.test(name)) return 'arm';
  return name === 'ppc64le' ? 'ppc64' : name;
}

/** @throws the system's error when there is no /proc/cpuinfo */
export function readHostCpu({ proc = '/proc' }: SystemRoots = {}): HostCpu {
  return parseCpuInfo(readFileSync(join(proc, 'cpuinfo'), 'utf8'));
}

/** Reads the first processor block; ARM, S/390 and POWER name the same things differently. */
export function parseCpuInfo(text: string): HostCpu {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === -1) continue;
    const key = line.slice(0, colon).trim();
    if (!fields.has(key)) fields.set(key, line.slice(colon + 1).trim());
  }
  const textOf = (name: string, ...keys: string[]) => {
    const value = keys.map((key) => fields.get(key)).find((value) => value !== undefined);
    return value === undefined ? {} : { [name]: value };
  };
  const numberOf = (name: string, ...keys: string[]) => {
    const value = Number(keys.map((key) => fields.get(key)).find((value) => value !== undefined) ?? Number.NaN);
    return Number.isNaN(value) ? {} : { [name]: value };
  };
  const flags = fields.get('flags') ?? fields.get('Features') ?? fields.get('features') ?? '';
  return {
    ...textOf('vendor', 'vendor_id', 'CPU implementer'),
    ...numberOf('family', 'cpu family', 'CPU architecture'),
    ...numberOf('model', 'model', 'CPU part'),
    ...numberOf('stepping', 'stepping', 'CPU revision'),
    ...textOf('modelName', 'model name', 'cpu'),
    ...textOf('microcode', 'microcode'),
    flags: flags.split(' ').filter((flag) => flag !== ''),
  };
}

/** Memory of the host. @throws the system's error when there is no /proc/meminfo */
export function readMemoryKiB({ proc = '/proc' }: SystemRoots = {}): number {
  return kiBOf(readFileSync(join(proc, 'meminfo'), 'utf8'), 'MemTotal') ?? 0;
}

/** Page sizes for guest memory: the base page, then huge pages in ascending order. */
export function readPageSizesKiB({ proc = '/proc', sys = '/sys' }: SystemRoots = {}): number[] {
  const base = kiBOf(readOr(join(proc, 'self/smaps'), ''), 'KernelPageSize') ?? 4;
  const huge = listNames(join(sys, 'kernel/mm/hugepages')).flatMap((name) => hugePageKiB(name) ?? []);
  return [base, ...huge.sort((a, b) => a - b)];
}

/** What the kernel can suspend to: `mem`, `disk`, `freeze`. */
export function readSleepStates({ sys = '/sys' }: SystemRoots = {}): string[] {
  const states = readOr(join(sys, 'power/state'), '').split(/\s+/);
  return states.filter((state) => state !== '');
}

/** Online processors with their place, from sysfs. */
export function readTopology({ sys = '/sys' }: SystemRoots = {}): HostTopology {
  const dir = join(sys, 'devices/system/cpu');
  const cpus = parseCpuList(readOr(join(dir, 'online'), '')).map((id) => {
    const read = (name: string) => readOr(join(dir, `cpu${id}/topology`, name), '').trim();
    const number = (name: string) => (read(name) === '' ? -1 : Number(read(name)));
    const siblings = parseCpuList(read('thread_siblings_list'));
    return {
      id,
      socket: number('physical_package_id'),
      die: number('die_id'),
      core: number('core_id'),
      siblings: siblings.length > 0 ? siblings : [id],
    };
  });
  const [first] = cpus;
  const socket = cpus.filter((cpu) => cpu.socket === first?.socket);
  return {
    cpus,
    sockets: new Set(cpus.map((cpu) => cpu.socket)).size,
    cores: new Set(socket.map((cpu) => `${cpu.die}:${cpu.core}`)).size,
    threads: first?.siblings.length ?? 0,
  };
}

/** NUMA nodes; a kernel without NUMA has none. */
export function readNumaNodes({ sys = '/sys' }: SystemRoots = {}): NumaNode[] {
  const dir = join(sys, 'devices/system/node');
  return parseCpuList(readOr(join(dir, 'online'), '')).map((id) => {
    const node = join(dir, `node${id}`);
    const distances = readOr(join(node, 'distance'), '').split(/\s+/);
    return {
      id,
      cpus: parseCpuList(readOr(join(node, 'cpulist'), '')),
      memoryKiB: kiBOf(readOr(join(node, 'meminfo'), ''), `Node ${id} MemTotal`) ?? 0,
      distances: distances.filter((text) => text !== '').map(Number),
      hugePages: readHugePages(join(node, 'hugepages')),
    };
  });
}

/** `0-3,8` → 0, 1, 2, 3, 8: the kernel's list format. Empty text is an empty list. */
export function parseCpuList(text: string): number[] {
  const parts = text.trim().split(',');
  return parts.flatMap((part) => {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) return [];
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
  });
}

function readHugePages(dir: string): NumaNode['hugePages'] {
  return listNames(dir)
    .flatMap((name) => {
      const sizeKiB = hugePageKiB(name);
      if (sizeKiB === undefined) return [];
      const count = (file: string) => Number(readOr(join(dir, name, file), '0'));
      return [{ sizeKiB, total: count('nr_hugepages'), free: count('free_hugepages') }];
    })
    .sort((a, b) => a.sizeKiB - b.sizeKiB);
}

function hugePageKiB(name: string): number | undefined {
  const digits = /^hugepages-(\d+)kB$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function kiBOf(text: string, key: string): number | undefined {
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${key}:`)) continue;
    const digits = /(\d+) kB/.exec(line)?.[1];
    if (digits !== undefined) return Number(digits);
  }
  return undefined;
}

/** sysfs leaves out what a kernel or an architecture does not have; that is an answer, not a fault. */
function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}
