/**
 * The smallest guests that show whether an accelerator really runs guest code: they switch the processor to 64 bits where
 * it does not start there, count, and tell QEMU to exit. Bytes and QEMU arguments only; running them is `accelerator.ts`.
 */

/** A guest and how to start it. */
export interface ProbeGuest {
  readonly image: Uint8Array;
  /** Exit status of QEMU once the guest's last instruction has run, and in no other case. */
  readonly exitCode: number;
  /** QEMU's arguments beside the accelerator, with the image at `path`. */
  args(path: string): string[];
}

/** The probe guest for QEMU's target, or undefined where none has been written. */
export function probeGuest(arch: string): ProbeGuest | undefined {
  if (arch === 'x86_64')
    return { image: bootSector(x86RealMode(), x86LongMode()), exitCode: X86_EXIT_STATUS, args: x86Args };
  // QEMU's i386 target has no long mode: there the 16-bit part counts.
  if (arch === 'i386') return { image: bootSector(i386RealMode(), []), exitCode: X86_EXIT_STATUS, args: x86Args };
  if (arch === 'aarch64') return { image: assembleAarch64(), exitCode: 0, args: aarch64Args };
  return undefined;
}

/** The value written to isa-debug-exit; QEMU exits with `value << 1 | 1`. */
const X86_EXIT_VALUE = 0x21;
const X86_EXIT_STATUS = (X86_EXIT_VALUE << 1) | 1;
const COMMON_ARGS = ['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot', '-m', '32'];

function x86Args(path: string): string[] {
  const disk = ['-drive', `file=${path},format=raw,if=ide`];
  return [...COMMON_ARGS, '-machine', 'pc', '-cpu', 'max', ...disk, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'];
}

function aarch64Args(path: string): string[] {
  return [...COMMON_ARGS, '-machine', 'virt', '-cpu', 'max', '-bios', path];
}

/** Turns of the counting loop. Under TCG a few milliseconds; where each instruction is emulated by a hypervisor, seconds. */
const LOOP_TURNS = 1_000_000;
const SECTOR_BYTES = 512;
const LOAD_ADDRESS = 0x7c00;

/** Offsets in the boot sector of what the 16-bit part must know the address of. */
const X86_LONG_MODE = 0x80;
const X86_GDT = 0xa0;
const X86_GDT_POINTER = 0xb0;

/** A boot sector: the BIOS loads it at 0x7c00 and starts it in 16-bit real mode. */
function bootSector(realMode: number[], longMode: number[]): Uint8Array {
  const image = new Uint8Array(SECTOR_BYTES);
  image.set(realMode, 0);
  image.set(longMode, X86_LONG_MODE);
  image.set([0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00], X86_GDT + 8); // code, ring 0, 64-bit; entry 0 stays null
  image.set([...word(15), ...dword(LOAD_ADDRESS + X86_GDT)], X86_GDT_POINTER); // limit, base
  image.set([0x55, 0xaa], SECTOR_BYTES - 2); // the BIOS boots nothing without it
  return image;
}

/** Maps the first 2 MiB one to one (tables at 0x1000, 0x2000, 0x3000), then enters long mode. */
function x86RealMode(): number[] {
  return [
    [0xfa], //                                     cli
    [0x31, 0xc0], //                               xor  ax, ax
    [0x8e, 0xd8], //                               mov  ds, ax
    [0x8e, 0xc0], //                               mov  es, ax
    [0xbf, ...word(0x1000)], //                    mov  di, 0x1000
    [0xb9, ...word(0x1800)], //                    mov  cx, 0x1800   ; three pages of words
    [0xfc], //                                     cld
    [0xf3, 0xab], //                               rep  stosw
    [0xc7, 0x06, ...word(0x1000), ...word(0x2003)], // mov word [0x1000], 0x2003 ; PML4[0]: present, writable
    [0xc7, 0x06, ...word(0x2000), ...word(0x3003)], // mov word [0x2000], 0x3003 ; PDPT[0]
    [0xc7, 0x06, ...word(0x3000), ...word(0x0083)], // mov word [0x3000], 0x0083 ; PD[0]: a 2 MiB page
    [0x66, 0xb8, ...dword(0x20)], //               mov  eax, 0x20     ; PAE
    [0x0f, 0x22, 0xe0], //                         mov  cr4, eax
    [0x66, 0xb8, ...dword(0x1000)], //             mov  eax, 0x1000
    [0x0f, 0x22, 0xd8], //                         mov  cr3, eax
    [0x66, 0xb9, ...dword(0xc000_0080)], //        mov  ecx, EFER
    [0x0f, 0x32], //                               rdmsr
    [0x66, 0x0d, ...dword(0x100)], //              or   eax, LME
    [0x0f, 0x30], //                               wrmsr
    [0x0f, 0x01, 0x16, ...word(LOAD_ADDRESS + X86_GDT_POINTER)], // lgdt [pointer]
    [0x0f, 0x20, 0xc0], //                         mov  eax, cr0
    [0x66, 0x0d, ...dword(0x8000_0001)], //        or   eax, PG | PE
    [0x0f, 0x22, 0xc0], //                         mov  cr0, eax
    [0xea, ...word(LOAD_ADDRESS + X86_LONG_MODE), ...word(8)], // jmp 8:long_mode
  ].flat();
}

function x86LongMode(): number[] {
  return [
    [0xb9, ...dword(LOOP_TURNS)], // mov  ecx, turns
    [0xff, 0xc9], //                 dec  ecx
    [0x75, 0xfc], //                 jnz  -4
    x86Exit(),
  ].flat();
}

function i386RealMode(): number[] {
  return [
    [0xfa], //                             cli
    [0x66, 0xb9, ...dword(LOOP_TURNS)], // mov  ecx, turns
    [0x66, 0x49], //                       dec  ecx
    [0x75, 0xfc], //                       jnz  -4
    x86Exit(),
  ].flat();
}

/** The same bytes in 16-bit and 64-bit mode. */
function x86Exit(): number[] {
  return [
    [0xb0, X86_EXIT_VALUE], // mov  al, value
    [0xe6, 0xf4], //           out  0xf4, al    ; isa-debug-exit
    [0xf4], //                 hlt
    [0xeb, 0xfd], //           jmp  -3
  ].flat();
}

/** Placed in flash at address 0, where the virt machine starts; PSCI SYSTEM_OFF makes QEMU exit. */
function assembleAarch64(): Uint8Array {
  const code = [
    0xd280_0001 | ((LOOP_TURNS & 0xffff) << 5), //        movz x1, #low
    0xf2a0_0001 | ((LOOP_TURNS >>> 16) << 5), //          movk x1, #high, lsl #16
    0xf100_0421, //                                       subs x1, x1, #1
    0x54ff_ffe1, //                                       b.ne -4
    0x5280_0100, //                                       movz w0, #0x0008
    0x72b0_8000, //                                       movk w0, #0x8400, lsl #16  ; PSCI SYSTEM_OFF
    0xd400_0002, //                                       hvc  #0
    0x1400_0000, //                                       b    .
  ];
  return Uint8Array.from(code.flatMap((instruction) => dword(instruction >>> 0)));
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff];
}

function dword(value: number): number[] {
  return [...word(value & 0xffff), ...word(value >>> 16)];
}
