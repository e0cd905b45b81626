/**
 * The kernel's performance counters of one guest (perf_event_open): of every thread that QEMU has, and of those that it makes later. Node has no
 * call for it: koffi, loaded with the first counter. The events' names are libvirt's; a guest without them costs nothing.
 */

import { closeSync, readdirSync, readSync } from 'node:fs';
import { arch, constants, endianness } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { loadKoffi } from '../../../core/koffi.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { HARDWARE_EVENTS, type PERF_EVENTS, SOFTWARE_EVENTS } from '../../../model/domain/perf.ts';

export type PerfEvent = (typeof PERF_EVENTS)[number];

/** PERF_TYPE_HARDWARE and PERF_TYPE_SOFTWARE. */
const HARDWARE: readonly PerfEvent[] = HARDWARE_EVENTS;
const SOFTWARE: readonly PerfEvent[] = SOFTWARE_EVENTS;

/** Numbers of the system call. */
const SYSCALLS: Readonly<Record<string, number>> = {
  x64: 298,
  arm64: 241,
  riscv64: 241,
  loong64: 241,
  ppc64: 319,
  s390x: 331,
  arm: 364,
  ia32: 336,
};
/** PERF_ATTR_SIZE_VER0, which every kernel takes. */
const ATTR_BYTES = 64;
const ATTR_FLAGS_AT = 40;
/** Threads that are made later are counted too. */
const ATTR_INHERIT = 2;
const FD_CLOEXEC = 8;

/** @returns a descriptor that counts, or the errno */
export type OpenCounter = (attr: Uint8Array, tid: number) => { fd: number } | { errno: number };

/** What a definition wants to be counted. */
export function enabledPerfEvents({ perf }: Domain): PerfEvent[] {
  return (perf?.events ?? []).flatMap(({ name, enabled }) => (enabled ? [name] : []));
}

/** What a counter has to be opened with; undefined: today's kernels have none. */
export function perfAttr(event: PerfEvent): Uint8Array | undefined {
  const software = SOFTWARE.indexOf(event);
  const config = software >= 0 ? software : HARDWARE.indexOf(event);
  if (config < 0) return undefined;
  const attr = Buffer.alloc(ATTR_BYTES);
  const isLittle = endianness() === 'LE';
  const put32 = (value: number, at: number): void =>
    void (isLittle ? attr.writeUInt32LE(value, at) : attr.writeUInt32BE(value, at));
  const put64 = (value: bigint, at: number): void =>
    void (isLittle ? attr.writeBigUInt64LE(value, at) : attr.writeBigUInt64BE(value, at));
  put32(software >= 0 ? 1 : 0, 0);
  put32(ATTR_BYTES, 4);
  put64(BigInt(config), 8);
  // Bit fields begin at the other end on the other byte order.
  if (isLittle) put64(BigInt(ATTR_INHERIT), ATTR_FLAGS_AT);
  else put64(1n << 62n, ATTR_FLAGS_AT);
  return attr;
}

export class PerfCounters implements Disposable {
  readonly #pid: number;
  readonly #load: () => Promise<OpenCounter>;
  readonly #open = new Map<PerfEvent, readonly number[]>();

  constructor(pid: number, load: () => Promise<OpenCounter> = loadOpenCounter) {
    this.#pid = pid;
    this.#load = load;
  }

  get enabled(): readonly PerfEvent[] {
    return [...this.#open.keys()];
  }

  /** All or none. @throws VirtError SYSTEM_ERROR where the kernel refuses, ARGUMENT_UNSUPPORTED for what no kernel counts any more */
  async enable(events: readonly PerfEvent[]): Promise<void> {
    const done: PerfEvent[] = [];
    try {
      for (const event of events) {
        if (this.#open.has(event)) continue;
        this.#open.set(event, await this.#count(event));
        done.push(event);
      }
    } catch (error) {
      this.disable(done);
      throw error;
    }
  }

  disable(events: readonly PerfEvent[]): void {
    for (const event of events) {
      for (const fd of this.#open.get(event) ?? []) closeSync(fd);
      this.#open.delete(event);
    }
  }

  /** What was counted since. */
  read(): Readonly<Partial<Record<PerfEvent, bigint>>> {
    const value = Buffer.alloc(8);
    const isLittle = endianness() === 'LE';
    const valueOf = (fd: number): bigint => {
      readSync(fd, value, 0, 8, null);
      return isLittle ? value.readBigUInt64LE() : value.readBigUInt64BE();
    };
    const sums = [...this.#open].map(
      ([event, fds]) => [event, fds.reduce((sum, fd) => sum + valueOf(fd), 0n)] as const,
    );
    return Object.fromEntries(sums);
  }

  [Symbol.dispose](): void {
    this.disable(this.enabled);
  }

  async #count(event: PerfEvent): Promise<number[]> {
    const attr = perfAttr(event);
    if (attr === undefined) {
      throw new VirtError(`unable to enable host cpu perf event for ${event}: Linux has not counted it since 4.14`, {
        code: ErrorCode.ARGUMENT_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
    }
    const open = await this.#load();
    const fds: number[] = [];
    for (const tid of readdirSync(`/proc/${this.#pid}/task`).map(Number)) {
      const found = open(attr, tid);
      if ('fd' in found) fds.push(found.fd);
      // A thread that has ended meanwhile has nothing to count.
      else if (found.errno !== constants.errno.ESRCH) {
        for (const fd of fds) closeSync(fd);
        throw refused(event, found.errno);
      }
    }
    return fds;
  }
}

function refused(event: PerfEvent, errno: number): VirtError {
  const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
  return new VirtError(`unable to open host cpu perf event for ${event}: ${name}${HINTS[name] ?? ''}`, {
    code: ErrorCode.SYSTEM_ERROR,
    domain: ErrorDomain.QEMU,
  });
}

const FORBIDDEN = ': the kernel lets this user count nothing; sysctl kernel.perf_event_paranoid=1 allows it';
const UNKNOWN = ': this processor counts no such event, or hides it, as most virtual machines do';
const HINTS: Readonly<Record<string, string>> = {
  EACCES: FORBIDDEN,
  EPERM: FORBIDDEN,
  ENOENT: UNKNOWN,
  EOPNOTSUPP: UNKNOWN,
  ENOSYS: ': the kernel was built without performance events',
};

async function loadOpenCounter(): Promise<OpenCounter> {
  const number = SYSCALLS[arch()];
  if (number === undefined) return () => ({ errno: constants.errno.ENOSYS });
  const koffi = await loadKoffi();
  const syscall = koffi
    .load(null)
    .func('long syscall(long number, void *attr, int pid, int cpu, int group, unsigned long flags)');
  return (attr, tid) => {
    const fd = Number(syscall(number, attr, tid, -1, -1, FD_CLOEXEC));
    return fd >= 0 ? { fd } : { errno: koffi.errno() };
  };
}
