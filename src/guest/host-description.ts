/**
 * Reads what every driver's capabilities tell about the host: its UUID, processors, memory, caches, sleep states, IOMMU. Small files, no processes.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listNames } from '../core/list-names.ts';
import { parseCpuList, readSleepStates, type SystemRoots } from '../host/cpu.ts';
import { readHostFacts } from '../host/host-facts.ts';
import type { CacheBank, HostDescription } from './host-elements.ts';

/** Where to look; every default is the real host. */
export interface DescriptionRoots extends SystemRoots {
  /** File of the firmware's UUID; default below `sys`. */
  readonly productUuid?: string;
  readonly machineId?: string;
}

export async function readHostDescription(roots: DescriptionRoots = {}): Promise<HostDescription> {
  const { proc = '/proc', sys = '/sys' } = roots;
  const names = ['topology', 'numaNodes', 'pageSizesKiB', 'memoryKiB'] as const;
  return {
    ...(await readHostFacts(names, { proc, sys })),
    uuid: readHostUuid(roots),
    sleepStates: readSleepStates({ sys }),
    iommu: hasIommu(sys),
    caches: readCaches(sys),
  };
}

/** Devices are in IOMMU groups, so that they can be given to guests. */
export function hasIommu(sys = '/sys'): boolean {
  return listNames(join(sys, 'kernel/iommu_groups')).length > 0;
}

/** The firmware's UUID, else the installation's: libvirt's order. Firmware that was left unset says zeros or ones. */
function readHostUuid({
  sys = '/sys',
  productUuid,
  machineId = '/etc/machine-id',
}: DescriptionRoots): string | undefined {
  const candidates = [readOr(productUuid ?? join(sys, 'class/dmi/id/product_uuid')), readOr(machineId)];
  for (const text of candidates) {
    const digits = text.trim().toLowerCase().replaceAll('-', '');
    if (/^[0-9a-f]{32}$/.test(digits) && !/^(.)\1*$/.test(digits)) {
      return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    }
  }
  return undefined;
}

/** The smaller ones are each processor's own, and libvirt does not list them. */
const LEAST_LEVEL = 3;

function readCaches(sys: string): CacheBank[] {
  const cpuDir = join(sys, 'devices/system/cpu');
  const banks = new Map<string, CacheBank>();
  for (const cpu of parseCpuList(readOr(join(cpuDir, 'online')))) {
    for (const index of listNames(join(cpuDir, `cpu${cpu}/cache`)).filter((name) => name.startsWith('index'))) {
      const read = (file: string) => readOr(join(cpuDir, `cpu${cpu}/cache`, index, file)).trim();
      const level = Number(read('level'));
      // Old kernels give no id: such a bank has no name.
      if (level < LEAST_LEVEL || read('id') === '') continue;
      const bank = {
        id: Number(read('id')),
        level,
        type: read('type'),
        sizeKiB: sizeKiBOf(read('size')),
        cpus: parseCpuList(read('shared_cpu_list')),
      };
      banks.set(`${level} ${bank.type} ${bank.id}`, bank);
    }
  }
  return [...banks.values()].sort((a, b) => a.level - b.level || a.id - b.id);
}

/** `32768K`, `32M` → KiB. */
function sizeKiBOf(text: string): number {
  const [, digits = '0', unit = 'K'] = /^(\d+)([KMG]?)/.exec(text) ?? [];
  return Number(digits) * (unit === 'G' ? 1024 ** 2 : unit === 'M' ? 1024 : 1);
}

/** sysfs leaves out what a kernel or a machine does not have, and product_uuid is root's: no answer, not a fault. */
function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
