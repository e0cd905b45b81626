/**
 * Identifies what a probe's result depends on: the binary's content, QEMU's modules, firmware descriptors, host
 * processor, kernel, and what this user may open. A few stats and one small read: every start pays for it.
 */
import {
  accessSync,
  type BigIntStats,
  closeSync,
  constants,
  openSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { hostArch } from '../../../host/cpu.ts';
import { firmwareDirs } from '../../../host/firmware.ts';

/** Where to look; every default is the real host. */
export interface CacheKeyRoots {
  readonly proc?: string;
  readonly devKvm?: string;
  readonly firmwareDirs?: readonly string[];
  readonly moduleDirs?: readonly string[];
}

/** A binary and the state of the host around it. Equal `key` texts mean that a probe would say the same. */
export interface CacheKey {
  readonly realpath: string;
  readonly key: string;
}

/** @throws the system's error when there is no such binary */
export function readCacheKey(binary: string, roots: CacheKeyRoots = {}): CacheKey {
  const realpath = realpathSync(binary);
  const { size, mtimeNs, ctimeNs, ino } = statSync(realpath, { bigint: true });
  const dirs = [...(roots.firmwareDirs ?? firmwareDirs()), ...(roots.moduleDirs ?? moduleDirs())];
  const parts = [
    realpath,
    ...[size, mtimeNs, ctimeNs, ino].map(String),
    ...dirs.map((dir) => `${dir}@${statOf(dir)?.mtimeNs ?? 'none'}`),
    release(),
    canOpen(roots.devKvm ?? '/dev/kvm') ? 'kvm' : 'no kvm',
    hostCpu(join(roots.proc ?? '/proc', 'cpuinfo')),
  ];
  return { realpath, key: parts.join('\n') };
}

/** QEMU loads modules from one of these, by how it was built. */
function moduleDirs(env: NodeJS.ProcessEnv = process.env): string[] {
  const own = env['QEMU_MODULE_DIR'];
  const built = [`/usr/lib/${hostArch()}-linux-gnu/qemu`, '/usr/lib64/qemu', '/usr/lib/qemu'];
  return own ? [own, ...built] : built;
}

function statOf(path: string): BigIntStats | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false; // the question itself, not a fault
  }
}

const CPUINFO_BYTES = 4096;
/** They change from one reading to the next. */
const UNSTEADY = /^(cpu MHz|processor|apicid|initial apicid|core id|physical id)\s*:/;

/**
 * The first processor's lines. Only the first page is read: the kernel writes the file as it is read, which for the
 * whole of a large machine takes longer than everything else here.
 */
function hostCpu(path: string): string {
  const buffer = Buffer.alloc(CPUINFO_BYTES);
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return 'unknown'; // a /proc without cpuinfo: the kernel release must do
  }
  try {
    const text = buffer.toString('latin1', 0, readSync(fd, buffer));
    const [first = ''] = text.split('\n\n');
    return first
      .split('\n')
      .filter((line) => !UNSTEADY.test(line))
      .join('\n');
  } finally {
    closeSync(fd);
  }
}
