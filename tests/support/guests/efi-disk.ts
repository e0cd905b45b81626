/**
 * The UEFI counterpart of the boot sectors: a FAT12 disk whose only file is a UEFI application of half a kilobyte, which greets on
 * the first serial port and powers off. Made byte by byte, so that no compiler and no mkfs is needed. x86_64 with OVMF only.
 */
import { writeFile } from 'node:fs/promises';

export const EFI_GREETING = 'NESTLING UEFI OK';

const SECTOR = 512;
const SECTORS = 2880;
const CLUSTER_SECTORS = 1;
const FAT_SECTORS = 9;
const ROOT_ENTRIES = 224;
const FIRST_DATA_SECTOR = 1 + FAT_SECTORS + (ROOT_ENTRIES * 32) / SECTOR;
const END_OF_CHAIN = 0xfff;
const DIRECTORY = 0x10;

/** Writes the disk with `/EFI/BOOT/BOOTX64.EFI`. */
export async function writeEfiDisk(path: string): Promise<void> {
  await writeFile(path, efiDisk());
}

function efiDisk(): Buffer {
  const image = Buffer.alloc(SECTORS * SECTOR);
  const application = efiApplication();
  const fileClusters = Math.ceil(application.length / (SECTOR * CLUSTER_SECTORS));
  writeBootRecord(image);
  // Clusters: 2 is /EFI, 3 is /EFI/BOOT, the file from 4 on.
  const chain = [0xff0, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
  for (let index = 0; index < fileClusters; index++) {
    chain.push(index === fileClusters - 1 ? END_OF_CHAIN : chain.length + 1);
  }
  writeFat(image, chain);
  writeEntries(image, (1 + FAT_SECTORS) * SECTOR, [entry('EFI', DIRECTORY, 2)]);
  writeEntries(image, clusterOffset(2), [
    entry('.', DIRECTORY, 2),
    entry('..', DIRECTORY, 0),
    entry('BOOT', DIRECTORY, 3),
  ]);
  writeEntries(image, clusterOffset(3), [
    entry('.', DIRECTORY, 3),
    entry('..', DIRECTORY, 2),
    entry('BOOTX64 EFI', 0x20, 4, application.length),
  ]);
  application.copy(image, clusterOffset(4));
  return image;
}

function clusterOffset(cluster: number): number {
  return (FIRST_DATA_SECTOR + (cluster - 2) * CLUSTER_SECTORS) * SECTOR;
}

function writeBootRecord(image: Buffer): void {
  image.set([0xeb, 0x3c, 0x90], 0);
  image.write('NESTLING', 3, 'latin1');
  image.writeUInt16LE(SECTOR, 11);
  image.writeUInt8(CLUSTER_SECTORS, 13);
  image.writeUInt16LE(1, 14); // reserved sectors
  image.writeUInt8(1, 16); // copies of the FAT
  image.writeUInt16LE(ROOT_ENTRIES, 17);
  image.writeUInt16LE(SECTORS, 19);
  image.writeUInt8(0xf0, 21); // medium
  image.writeUInt16LE(FAT_SECTORS, 22);
  image.writeUInt16LE(18, 24); // sectors of a track
  image.writeUInt16LE(2, 26); // heads
  image.writeUInt8(0x29, 38);
  image.writeUInt32LE(0x4e455354, 39);
  image.write('NESTLING   FAT12   ', 43, 'latin1');
  image.writeUInt16LE(0xaa55, 510);
}

/** Entries of 12 bits, two in three bytes. */
function writeFat(image: Buffer, chain: readonly number[]): void {
  chain.forEach((next, cluster) => {
    const at = SECTOR + Math.floor(cluster * 1.5);
    const pair = image.readUInt16LE(at);
    image.writeUInt16LE(cluster % 2 === 0 ? (pair & 0xf000) | next : (pair & 0x000f) | (next << 4), at);
  });
}

function entry(name: string, attributes: number, cluster: number, size = 0): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.write(name.padEnd(11), 0, 'latin1');
  bytes.writeUInt8(attributes, 11);
  bytes.writeUInt16LE(cluster, 26);
  bytes.writeUInt32LE(size, 28);
  return bytes;
}

function writeEntries(image: Buffer, offset: number, entries: readonly Buffer[]): void {
  Buffer.concat(entries).copy(image, offset);
}

/** Position independent: prints the text behind it on COM1, then writes SLP_EN to ich9's and piix4's PM1 control register. */
// prettier-ignore
const CODE = [
  0x48,
  0x8d,
  0x35,
  0x26,
  0,
  0,
  0, //        lea rsi, [rip + text]
  0xac, //                            next:  lodsb
  0x84,
  0xc0,
  0x74,
  0x14, //                 test al, al; jz done
  0x88,
  0xc3, //                             mov bl, al
  0x66,
  0xba,
  0xfd,
  0x03, //                 mov dx, 0x3fd
  0xec,
  0xa8,
  0x20,
  0x74,
  0xfb, //    wait:  in al, dx; test al, 0x20; jz wait
  0x88,
  0xd8, //                             mov al, bl
  0x66,
  0xba,
  0xf8,
  0x03,
  0xee, //           mov dx, 0x3f8; out dx, al
  0xeb,
  0xe7, //                             jmp next
  0x66,
  0xba,
  0x04,
  0x06, //          done:  mov dx, 0x604
  0x66,
  0xb8,
  0x00,
  0x20,
  0x66,
  0xef, //     mov ax, 0x2000; out dx, ax
  0xf4,
  0xeb,
  0xfd, //                halt:  hlt; jmp halt
];

/** A PE32+ image with one section and no relocations, because the code has no addresses. */
function efiApplication(): Buffer {
  const code = Buffer.concat([Buffer.from(CODE), Buffer.from(`\r\n${EFI_GREETING}\r\n\0`, 'latin1')]);
  const headers = Buffer.alloc(SECTOR);
  headers.write('MZ', 0, 'latin1');
  headers.writeUInt32LE(0x40, 0x3c);
  const pe = 0x40;
  headers.write('PE\0\0', pe, 'latin1');
  headers.writeUInt16LE(0x8664, pe + 4); // machine
  headers.writeUInt16LE(1, pe + 6); // sections
  headers.writeUInt16LE(240, pe + 20); // size of the optional header
  headers.writeUInt16LE(0x0022, pe + 22); // executable, large addresses
  const optional = pe + 24;
  headers.writeUInt16LE(0x20b, optional); // PE32+
  headers.writeUInt32LE(SECTOR, optional + 4); // size of code
  headers.writeUInt32LE(0x1000, optional + 16); // entry point
  headers.writeUInt32LE(0x1000, optional + 20); // base of code
  headers.writeUInt32LE(0x1000, optional + 32); // section alignment
  headers.writeUInt32LE(SECTOR, optional + 36); // file alignment
  headers.writeUInt32LE(0x2000, optional + 56); // size in memory
  headers.writeUInt32LE(SECTOR, optional + 60); // size of headers
  headers.writeUInt16LE(10, optional + 68); // subsystem: UEFI application
  headers.writeUInt32LE(16, optional + 108); // data directories, all empty
  const section = optional + 240;
  headers.write('.text', section, 'latin1');
  headers.writeUInt32LE(SECTOR, section + 8);
  headers.writeUInt32LE(0x1000, section + 12);
  headers.writeUInt32LE(SECTOR, section + 16);
  headers.writeUInt32LE(SECTOR, section + 20);
  headers.writeUInt32LE(0x6000_0020, section + 36); // code, readable, executable
  const padded = Buffer.alloc(SECTOR);
  code.copy(padded);
  return Buffer.concat([headers, padded]);
}
