/**
 * Which programs this kernel runs, and how those of foreign architectures are made to run by QEMU's user emulation. The table and the
 * decision are pure; reading the facts is one function beside them. Nothing is registered here.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { machine, release } from 'node:os';
import { join } from 'node:path';
import { lookUpProgram } from '../process/find-program.ts';

/** What the header of a program says (elf(5)): class, byte order, `e_machine`. */
interface ElfKind {
  readonly bits: 32 | 64;
  readonly order: 'little' | 'big';
  readonly machine: number;
}

/** By QEMU's name of the architecture, which is `uname -m`'s for most. */
const ELF_KINDS = {
  aarch64: { bits: 64, order: 'little', machine: 183 },
  alpha: { bits: 64, order: 'little', machine: 0x9026 },
  arm: { bits: 32, order: 'little', machine: 40 },
  armeb: { bits: 32, order: 'big', machine: 40 },
  hppa: { bits: 32, order: 'big', machine: 15 },
  i386: { bits: 32, order: 'little', machine: 3 },
  loongarch64: { bits: 64, order: 'little', machine: 258 },
  m68k: { bits: 32, order: 'big', machine: 4 },
  mips: { bits: 32, order: 'big', machine: 8 },
  mips64: { bits: 64, order: 'big', machine: 8 },
  mips64el: { bits: 64, order: 'little', machine: 8 },
  mipsel: { bits: 32, order: 'little', machine: 8 },
  ppc: { bits: 32, order: 'big', machine: 20 },
  ppc64: { bits: 64, order: 'big', machine: 21 },
  ppc64le: { bits: 64, order: 'little', machine: 21 },
  riscv64: { bits: 64, order: 'little', machine: 243 },
  s390x: { bits: 64, order: 'big', machine: 22 },
  sh4: { bits: 32, order: 'little', machine: 42 },
  sparc: { bits: 32, order: 'big', machine: 2 },
  sparc64: { bits: 64, order: 'big', machine: 43 },
  x86_64: { bits: 64, order: 'little', machine: 62 },
} as const satisfies Readonly<Record<string, ElfKind>>;

/** An architecture by QEMU's name. */
export type EmulatedArchitecture = keyof typeof ELF_KINDS;

export function isEmulatedArchitecture(name: string): name is EmulatedArchitecture {
  return Object.hasOwn(ELF_KINDS, name);
}

/** Architectures that a machine's kernel runs beside its own. arm on aarch64 is not among them: many such processors cannot. */
const ALSO_RUNS: Readonly<Partial<Record<string, readonly EmulatedArchitecture[]>>> = {
  x86_64: ['i386'],
  ppc64: ['ppc'],
  mips64: ['mips'],
  mips64el: ['mipsel'],
  sparc64: ['sparc'],
};

/** What the decision needs to know of this host. */
export interface BinfmtFacts {
  /** `uname -m`. */
  readonly machine: string;
  /** `uname -r`. */
  readonly kernel: string;
  /** Whether the kernel has binfmt_misc, or a module of it that it will load by itself. */
  readonly hasBinfmtMisc: boolean;
  /** Emulators by architecture: statically linked ones only, for the others need libraries inside the root. */
  readonly emulators: Readonly<Partial<Record<EmulatedArchitecture, string>>>;
  /** Architectures that this host has registered already, so that they run in any root (flag F). */
  readonly registered: readonly EmulatedArchitecture[];
}

/**
 * How programs of an architecture come to run. `line` is what is written to `register` of binfmt_misc: in a user namespace of the
 * program's own (`private`), or for the whole host (`host`).
 */
export type ForeignPlan =
  | { readonly kind: 'native' }
  | { readonly kind: 'registered' }
  | { readonly kind: 'private'; readonly line: string; readonly emulator: string }
  | { readonly kind: 'host'; readonly line: string; readonly emulator: string }
  | { readonly kind: 'impossible'; readonly reason: string; readonly fix: string };

/** binfmt_misc has been a matter of the user namespace since Linux 6.7. */
const PRIVATE_SINCE: readonly [number, number] = [6, 7];

/** Decides how programs of `wanted` run here. Pure. `registerOnHost`: the user has allowed to register for the whole host. */
export function planForeign(
  wanted: EmulatedArchitecture,
  facts: BinfmtFacts,
  { registerOnHost = false }: { registerOnHost?: boolean } = {},
): ForeignPlan {
  const own = facts.machine;
  if (isNative(wanted, own)) return { kind: 'native' };
  if (facts.registered.includes(wanted)) return { kind: 'registered' };
  const emulator = facts.emulators[wanted];
  if (emulator === undefined) {
    return impossible(
      `no statically linked qemu-${wanted} is installed, which runs its programs on ${own}`,
      'install the package qemu-user-static',
    );
  }
  if (!facts.hasBinfmtMisc) {
    return impossible('the kernel has no binfmt_misc', "load it: 'modprobe binfmt_misc', or ask who runs this host");
  }
  const line = registrationLine(wanted, emulator);
  if (isAtLeast(facts.kernel, PRIVATE_SINCE)) return { kind: 'private', line, emulator };
  if (registerOnHost) return { kind: 'host', line, emulator };
  return impossible(
    `Linux ${facts.kernel} cannot register an emulator for one container alone (6.7 and later can)`,
    'register it for the whole host: --register-binfmt, or install the package binfmt-support',
  );
}

function impossible(reason: string, fix: string): ForeignPlan {
  return { kind: 'impossible', reason, fix };
}

function isNative(wanted: EmulatedArchitecture, own: string): boolean {
  const same =
    wanted === own || (wanted === 'i386' && /^i[3-6]86$/.test(own)) || (wanted === 'arm' && own.startsWith('armv'));
  return same || (ALSO_RUNS[own]?.includes(wanted) ?? false);
}

function isAtLeast(kernel: string, [major, minor]: readonly [number, number]): boolean {
  const [, has = '0', hasMinor = '0'] = /^(\d+)\.(\d+)/.exec(kernel) ?? [];
  return Number(has) > major || (Number(has) === major && Number(hasMinor) >= minor);
}

/**
 * What is written to `register` (the kernel's Documentation/admin-guide/binfmt-misc.rst). F: the emulator is opened now, so that no
 * root needs it. C: set-user-id programs such as sudo work. P: programs see the name that they were called by, for which QEMU
 * must be called by a name of Debian's.
 */
export function registrationLine(wanted: EmulatedArchitecture, emulator: string): string {
  const { magic, mask } = magicOf(wanted);
  const flags = emulator.endsWith('-binfmt-P') ? 'POCF' : 'OCF';
  return `:qemu-${wanted}:M::${escapeBytes(magic)}:${escapeBytes(mask)}:${emulator}:${flags}`;
}

/** The first 20 bytes of programs of an architecture, and which bits of them count. */
export function magicOf(wanted: EmulatedArchitecture): { magic: Uint8Array; mask: Uint8Array } {
  const { bits, order, machine: number }: ElfKind = ELF_KINDS[wanted];
  const magic = new Uint8Array(20);
  magic.set([0x7f, 0x45, 0x4c, 0x46, bits / 32, order === 'little' ? 1 : 2, 1]);
  const view = new DataView(magic.buffer);
  view.setUint16(16, 2, order === 'little');
  view.setUint16(18, number, order === 'little');
  const mask = new Uint8Array(20).fill(0xff);
  // The operating system's byte is anything; an executable (2) and a shared object (3) are both programs.
  mask[7] = 0;
  mask[order === 'little' ? 16 : 17] = 0xfe;
  return { magic, mask };
}

function escapeBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}

/** The architecture of a program or library by its header; undefined when it is none, or of one that QEMU does not emulate. */
export function architectureOfElf(header: Uint8Array): EmulatedArchitecture | undefined {
  return ARCHITECTURES.find((name) => {
    const { magic, mask } = magicOf(name);
    return (
      header.length >= magic.length &&
      magic.every((byte, at) => ((header[at] ?? 0) & (mask[at] ?? 0)) === (byte & (mask[at] ?? 0)))
    );
  });
}

const ARCHITECTURES = Object.keys(ELF_KINDS).filter(isEmulatedArchitecture);

export interface BinfmtRoots {
  readonly proc?: string;
  /** Where Debian has names for QEMU that say that it is called with flag P. */
  readonly binfmtDir?: string;
  /** PATH. */
  readonly path?: string | undefined;
  readonly machine?: string;
  readonly kernel?: string;
}

/** Reads a few small files and the headers of the emulators; runs nothing. */
export function readBinfmtFacts(roots: BinfmtRoots = {}): BinfmtFacts {
  const { proc = '/proc', binfmtDir = '/usr/libexec/qemu-binfmt', path } = roots;
  const kernel = roots.kernel ?? release();
  const emulators: Partial<Record<EmulatedArchitecture, string>> = {};
  for (const name of ARCHITECTURES) {
    const found = [join(binfmtDir, `${name}-binfmt-P`), `qemu-${name}-static`, `qemu-${name}`]
      .map((program) => lookUpProgram(program, { path }))
      .find((program) => program !== undefined && isStatic(program));
    if (found !== undefined) emulators[name] = found;
  }
  return {
    machine: roots.machine ?? machine(),
    kernel,
    hasBinfmtMisc: hasBinfmtMisc(proc, kernel),
    emulators,
    registered: readRegistered(join(proc, 'sys/fs/binfmt_misc')),
  };
}

function hasBinfmtMisc(proc: string, kernel: string): boolean {
  if (/\bbinfmt_misc$/m.test(readOrEmpty(join(proc, 'filesystems')))) return true;
  return readOrEmpty(`/lib/modules/${kernel}/modules.dep`).includes('/binfmt_misc.ko');
}

/** The host's own registrations that hold inside any root, whatever they are called. */
function readRegistered(folder: string): EmulatedArchitecture[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    // Not mounted: then nothing is registered, or nobody can tell.
    return [];
  }
  if (readOrEmpty(join(folder, 'status')).trim() !== 'enabled') return [];
  const entries = names
    .filter((name) => name !== 'register' && name !== 'status')
    .map((name) => readOrEmpty(join(folder, name)));
  const usable = entries.filter((text) => text.startsWith('enabled\n') && /^flags: \w*F/m.test(text));
  const magics = usable.map((text) => /^magic ([0-9a-f]+)$/m.exec(text)?.[1] ?? '');
  return ARCHITECTURES.filter((name) => {
    const wanted = Buffer.from(magicOf(name).magic).toString('hex');
    return magics.some((magic) => magic.slice(0, 40) === wanted);
  });
}

const PT_INTERP = 3;
const HEADER_BYTES = 4096;

/** Whether a program of this host needs no dynamic linker (none of its program headers names one). */
function isStatic(program: string): boolean {
  const bytes = Buffer.alloc(HEADER_BYTES);
  try {
    const file = openSync(realpathSync(program), 'r');
    try {
      readSync(file, bytes, 0, HEADER_BYTES, 0);
    } finally {
      closeSync(file);
    }
  } catch {
    // One that cannot be read is not one to rely on.
    return false;
  }
  const is64 = bytes[4] === 2;
  const isLittle = bytes[5] === 1;
  const short = (at: number): number => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const word = (at: number): number => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  if (bytes.readUInt32BE(0) !== 0x7f454c46) return false;
  const start = is64 && !isLittle ? word(36) : is64 ? word(32) : word(28);
  const [size, count] = [short(is64 ? 54 : 42), short(is64 ? 56 : 44)];
  if (start + size * count > HEADER_BYTES) return false;
  return !Array.from({ length: count }, (_, index) => word(start + index * size)).includes(PT_INTERP);
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent on kernels that do not have it.
    return '';
  }
}
