/**
 * Remembers the verdict on KVM for as long as nothing has changed that it depends on: one boot, one kernel, one device
 * node, one QEMU. What is known without running QEMU (no device, no permission, busy) is never kept.
 */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../process/find-program.ts';
import { checkKvmDevice, type KvmProbeOptions, type KvmVerdict, probeKvm } from './accelerator.ts';
import { defaultCacheDir, readCacheFile, writeCacheFile } from './cache-file.ts';
import { hostArch } from './cpu.ts';

export interface KvmCacheOptions extends KvmProbeOptions {
  /** Where the verdict is kept; null: nowhere. Default: `defaultCacheDir()`. */
  readonly cacheDir?: string | null;
  readonly procRoot?: string;
}

const FORMAT = 1;
const FILE_NAME = 'kvm-verdict.json';

/**
 * The verdict on KVM, from the cache or by `probeKvm`. A cache that cannot be written costs the next caller a probe.
 * @throws what `probeKvm` throws
 */
export async function readKvmVerdict(options: KvmCacheOptions): Promise<KvmVerdict> {
  const devKvm = options.devKvm ?? '/dev/kvm';
  const refusal = checkKvmDevice(devKvm, options.arch ?? hostArch());
  if (refusal !== undefined) return refusal;
  const cacheDir = options.cacheDir === undefined ? defaultCacheDir() : options.cacheDir;
  if (typeof cacheDir !== 'string') return probeKvm(options);
  const path = join(cacheDir, FILE_NAME);
  const key = verdictKey(devKvm, options);
  const cached = readCacheFile(path);
  if (isEntry(cached) && cached.key === key) return cached.verdict;
  const verdict = await probeKvm(options);
  if (verdict.usable || verdict.reason !== 'busy') {
    try {
      writeCacheFile(path, { format: FORMAT, key, verdict } satisfies Entry);
    } catch {
      // Without a cache the answer is the same and only later; `CapabilitiesCache` reports an unwritable directory.
    }
  }
  return verdict;
}

interface Entry {
  readonly format: typeof FORMAT;
  readonly key: string;
  readonly verdict: KvmVerdict;
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null || !('format' in value) || value.format !== FORMAT) return false;
  if (!('key' in value) || typeof value.key !== 'string' || !('verdict' in value)) return false;
  const { verdict } = value;
  if (typeof verdict !== 'object' || verdict === null || !('usable' in verdict)) return false;
  if (verdict.usable === true) return 'timeMs' in verdict && typeof verdict.timeMs === 'number';
  return 'reason' in verdict && typeof verdict.reason === 'string' && 'detail' in verdict;
}

function verdictKey(devKvm: string, { qemu, procRoot = '/proc' }: KvmCacheOptions): string {
  const device = statSync(devKvm);
  const binary = realpathSync(findProgram(qemu));
  const { size, mtimeMs } = statSync(binary);
  const bootId = readText(join(procRoot, 'sys/kernel/random/boot_id')).trim();
  return JSON.stringify([release(), bootId, device.rdev, device.mode, kvmModules(procRoot), binary, size, mtimeMs]);
}

/** `kvm_intel`, `kvm_amd`, … : another one behind the same device is another hypervisor. */
function kvmModules(procRoot: string): string[] {
  return readText(join(procRoot, 'modules'))
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith('kvm'))
    .sort();
}

/** Empty where the kernel has no such file (modules not enabled, a hardened /proc): then the rest of the key decides. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
