/**
 * Guests of 512 bytes: boot sectors that greet on the first serial port and then do one thing. They start in about a tenth
 * of a second under TCG, so that most life-cycle tests need no kernel. They need SeaBIOS (not UEFI), on `pc` or `q35`.
 */
import { createHash } from 'node:crypto';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assemble } from './assembler.ts';
import { buildOnce } from './cache.ts';

const LOAD_ADDRESS = 0x7c00;
const SECTOR_BYTES = 512;
/** Padded, because some buses and QEMU's block layer dislike disks smaller than this. */
const IMAGE_BYTES = 1024 * 1024;

/** Sleeps until the next timer interrupt; `setup` makes that every 4 ms. */
const NAP = `
  sti
  hlt
`;

/** Stops for good: even an NMI only comes back to the halt. */
const HALT = `
halt:
  cli
  hlt
  jmp halt
`;

/**
 * SeaBIOS gives the ACPI power management block of both piix4 and ich9 the base 0x600: status at +0, enable at +2, control
 * at +4. Writing SLP_EN (bit 13) with sleep type 0 is S5 in QEMU's DSDT for both machines. Without `acpi` nothing happens.
 */
const POWER_OFF = `
  mov dx, 0x604
  mov ax, 0x2000
  out dx, ax
`;

const RESET = `
  mov dx, 0xcf9       ; reset control register of ich9 and piix3: hard reset
  mov al, 6
  out dx, al
  mov al, 0xfe        ; keyboard controller: pulse the reset line
  out 0x64, al
`;

/** What each guest does after its greeting. */
const PROGRAMS = {
  /** Powers off at once. */
  poweroff: `${POWER_OFF}${HALT}`,
  /** Halts with interrupts off: deaf to everything, no CPU time used. */
  halt: HALT,
  /** The same without the greeting. */
  mute: HALT,
  /** Sends back each byte that it receives. */
  echo: `
    poll:
      mov dx, 0x3fd
      in al, dx
      test al, 1          ; data ready?
      jz idle
      mov dx, 0x3f8
      in al, dx
      call putc
      jmp poll
    idle:
      ${NAP}
      jmp poll`,
  /** Resets the machine: greets again after each reset. */
  reboot: `${RESET}${HALT}`,
  /** Triple fault: an interrupt while the interrupt table has no entries. QEMU resets the machine. */
  crash: `
      lidt empty_table
      int 3
      ${HALT}
    empty_table:
      dw 0, 0, 0`,
  /** Tells the ISA pvpanic device (where there is one) that it has panicked, then halts. */
  panic: `
      mov dx, 0x505
      mov al, 1
      out dx, al
      ${HALT}`,
  /** Prints "count 1", "count 2", … about 60 times a second, for ever. */
  counter: `
      xor bp, bp
    next:
      inc bp
      mov si, count_text
      call puts
      mov ax, bp
      call put_decimal
      mov si, line_end
      call puts
      mov cx, 4
    pause:
      ${NAP}
      dec cx
      jnz pause
      jmp next
    count_text:
      ascii "count "
      db 0
    line_end:
      db 13, 10, 0`,
  /** Powers off when the ACPI power button is pressed (QMP system_powerdown). */
  powerbutton: `
    wait:
      mov dx, 0x600       ; PM1 status
      in ax, dx
      test ax, 0x100
      jnz pressed
      ${NAP}
      jmp wait
    pressed:
      mov si, pressed_text
      call puts
      ${POWER_OFF}
      ${HALT}
    pressed_text:
      ascii "power button pressed"
      db 13, 10, 0`,
} as const;

/** The boot-sector guests by name. */
export type BootSector = keyof typeof PROGRAMS;
export const BOOT_SECTORS = Object.keys(PROGRAMS) as BootSector[];

/** What a guest prints first (all but `mute`), without the line end. */
export function greetingOf(kind: BootSector): string {
  return `nestling guest: ${kind}`;
}

/** Path of the raw 1 MiB image of a boot-sector guest, shared by all tests: attach it read-only, or take `copyBootSectorImage`. */
export async function bootSectorImage(kind: BootSector): Promise<string> {
  const sector = bootSector(kind);
  const key = createHash('sha256').update(sector).digest('hex').slice(0, 16);
  const directory = await buildOnce(`boot-sector-${kind}-${key}`, async (into) => {
    const image = Buffer.alloc(IMAGE_BYTES);
    image.set(sector);
    await writeFile(join(into, `${kind}.img`), image);
  });
  return join(directory, `${kind}.img`);
}

/** A copy of the image in `directory` that the guest may write to (and that QEMU may lock). */
export async function copyBootSectorImage(kind: BootSector, directory: string): Promise<string> {
  const path = join(directory, `${kind}.img`);
  await copyFile(await bootSectorImage(kind), path);
  return path;
}

/** The 512 bytes themselves. */
function bootSector(kind: BootSector): Uint8Array {
  const code = assemble(sourceOf(kind), LOAD_ADDRESS);
  // The partition table begins at 446; SeaBIOS does not ask for one, but bytes there would look like partitions.
  if (code.length > 446) throw new RangeError(`boot sector "${kind}" has ${code.length} bytes of code, more than 446`);
  const sector = new Uint8Array(SECTOR_BYTES);
  sector.set(code);
  sector.set([0x55, 0xaa], SECTOR_BYTES - 2);
  return sector;
}

function sourceOf(kind: BootSector): string {
  const greet = kind === 'mute' ? '' : '  mov si, greeting\n  call puts\n';
  return `${SETUP}${PREPARE[kind] ?? ''}${greet}${PROGRAMS[kind]}\n${ROUTINES}
greeting:
  ascii ${JSON.stringify(greetingOf(kind))}
  db 13, 10, 0
`;
}

const SETUP = `
  cli
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  cld
  mov al, 0x36        ; timer 0, square wave: 1193182 / 4773 = 250 interrupts a second
  out 0x43, al
  mov al, 0xa5
  out 0x40, al
  mov al, 0x12
  out 0x40, al
  mov dx, 0x3f9       ; serial: no interrupts, all is polled
  mov al, 0
  out dx, al
  mov dx, 0x3fa       ; serial: FIFO on, so that 16 bytes may arrive between two polls
  mov al, 1
  out dx, al
`;

/** What must have happened before the greeting, because tests take that for "ready". */
const PREPARE: Partial<Record<BootSector, string>> = {
  powerbutton: `
      mov dx, 0x602       ; PM1 enable: QEMU reports a press only to a guest that asked for it
      mov ax, 0x100
      out dx, ax
  `,
};

const ROUTINES = `
puts:                 ; prints the zero-terminated text at si
  lodsb
  test al, al
  jz puts_end
  call putc
  jmp puts
puts_end:
  ret

putc:                 ; prints al when the transmitter is empty; keeps cx, si, bp
  mov bl, al
  mov dx, 0x3fd
putc_wait:
  in al, dx
  test al, 0x20
  jz putc_wait
  mov dx, 0x3f8
  mov al, bl
  out dx, al
  ret

put_decimal:          ; prints ax as a decimal number
  xor cx, cx
  mov di, 10
digit:
  xor dx, dx
  div di
  push dx
  inc cx
  test ax, ax
  jnz digit
print_digit:
  pop ax
  add al, 48
  call putc
  dec cx
  jnz print_digit
  ret
`;
