import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ImageFormat, ImageFormatError, parseImageHeader, probeFormat } from './image-format.ts';

/** Header of a qcow2 image as the format's specification lays it out. */
export function qcow2Header({
  version = 3,
  backing = '',
  backingFormat = '',
  dataFile = '',
  incompatible = 0n,
  crypt = 0,
  length = 1024,
}: {
  version?: number;
  backing?: string;
  backingFormat?: string;
  dataFile?: string;
  incompatible?: bigint;
  crypt?: number;
  length?: number;
} = {}): Buffer {
  const header = Buffer.alloc(length);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(version, 4);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(1_048_576n, 24);
  header.writeUInt32BE(crypt, 32);
  header.writeBigUInt64BE(incompatible, 72);
  header.writeUInt32BE(104, 100);
  let offset = version === 3 ? 104 : 72;
  for (const [type, text] of [
    [0xe279_2aca, backingFormat],
    [0x4441_5441, dataFile],
  ] as const) {
    if (text === '') continue;
    header.writeUInt32BE(type, offset);
    header.writeUInt32BE(Buffer.byteLength(text), offset + 4);
    header.write(text, offset + 8);
    offset += 8 + Math.ceil(Buffer.byteLength(text) / 8) * 8;
  }
  if (backing !== '') {
    header.writeBigUInt64BE(BigInt(offset + 8), 8);
    header.writeUInt32BE(Buffer.byteLength(backing), 16);
    header.write(backing, offset + 8);
  }
  return header;
}

describe('qcow2', () => {
  it('says what is below it, and in which format', () => {
    expect(parseImageHeader(qcow2Header({ backing: '../ü, b.img', backingFormat: 'raw' }))).toEqual({
      format: 'qcow2',
      version: 3,
      virtualSizeBytes: 1_048_576n,
      backingFile: '../ü, b.img',
      backingFormat: 'raw',
      qcow2: { compat: '1.1', clusterSizeBytes: 65_536, lazyRefcounts: false, extendedL2: false },
    });
  });

  it('of version 2 may lack the format', () => {
    const header = parseImageHeader(qcow2Header({ version: 2, backing: '/b' }));
    expect(header).toMatchObject({ version: 2, backingFile: '/b' });
    expect(header.backingFormat).toBeUndefined();
  });

  it('names its data file', () => {
    expect(parseImageHeader(qcow2Header({ dataFile: 'data', incompatible: 4n }))).toMatchObject({
      hasDataFile: true,
      dataFile: 'data',
    });
  });

  it.each([
    [1, 'aes'],
    [2, 'luks'],
  ])('has encryption method %i, %s', (crypt, encryption) => {
    expect(parseImageHeader(qcow2Header({ crypt }))).toMatchObject({ encryption });
  });

  it('asks for more of the file where its name lies beyond', () => {
    const header = qcow2Header({ backing: '/b', length: 200 });
    header.writeBigUInt64BE(70_000n, 8);
    expect(() => parseImageHeader(header)).toThrow(expect.objectContaining({ neededBytes: 70_002 }));
  });

  it.each([
    ['a version of the future', (header: Buffer) => header.writeUInt32BE(4, 4)],
    ['a name beyond every cluster', (header: Buffer) => header.writeBigUInt64BE(1n << 40n, 8)],
    ['an endless name', (header: Buffer) => header.writeUInt32BE(0xffff_ffff, 16)],
    ['a short header', (header: Buffer) => header.writeUInt32BE(8, 100)],
    ['unknown encryption', (header: Buffer) => header.writeUInt32BE(9, 32)],
    ['a name with NUL', (header: Buffer) => header.writeUInt32BE(200, 16)],
  ])('with %s is refused', (_name, damage) => {
    const header = qcow2Header({ backing: '/b' });
    damage(header);
    expect(() => parseImageHeader(header)).toThrow(ImageFormatError);
  });
});

describe('other formats', () => {
  it('qcow', () => {
    const header = Buffer.alloc(64);
    header.write('QFI\xfb', 0, 'latin1');
    header.writeUInt32BE(1, 4);
    header.writeBigUInt64BE(48n, 8);
    header.writeUInt32BE(2, 16);
    header.write('/b', 48);
    expect(parseImageHeader(header)).toMatchObject({ format: 'qcow', version: 1, backingFile: '/b' });
  });

  it('QED, whose backing image may be known to be raw', () => {
    const header = Buffer.alloc(128);
    header.write('QED\0');
    header.writeBigUInt64LE(5n, 16);
    header.writeUInt32LE(64, 56);
    header.writeUInt32LE(2, 60);
    header.write('/b', 64);
    expect(parseImageHeader(header)).toMatchObject({ format: 'qed', backingFile: '/b', backingFormat: 'raw' });
  });

  it('VMDK, whose descriptor names the parent', () => {
    const header = Buffer.alloc(2048);
    header.write('KDMV');
    header.writeUInt32LE(1, 4);
    header.writeBigUInt64LE(1n, 28);
    header.writeBigUInt64LE(2n, 36);
    header.write('# Disk DescriptorFile\nparentCID=0123\nparentFileNameHint="base.vmdk"\n', 512);
    header.writeBigUInt64LE(4096n, 12);
    expect(parseImageHeader(header)).toEqual({
      format: 'vmdk',
      version: 1,
      virtualSizeBytes: 2_097_152n,
      backingFile: 'base.vmdk',
      backingFormat: 'vmdk',
    });
    header.write('parentCID=ffffffff\n', 512);
    expect(parseImageHeader(header).backingFile).toBeUndefined();
  });

  it('VDI, VHD and LUKS say how large they are', () => {
    const vdi = Buffer.alloc(512);
    vdi.write('\x7f\x10\xda\xbe', 0x40, 'latin1');
    vdi.writeBigUInt64LE(1_048_576n, 0x170);
    expect(parseImageHeader(vdi)).toEqual({ format: 'vdi', virtualSizeBytes: 1_048_576n });
    const vhd = Buffer.alloc(512);
    vhd.write('conectix');
    vhd.writeBigUInt64BE(2_097_152n, 48);
    expect(parseImageHeader(vhd)).toEqual({ format: 'vpc', virtualSizeBytes: 2_097_152n });
    const luks = Buffer.alloc(592);
    luks.write('LUKS\xba\xbe\0\x01', 'latin1');
    luks.writeUInt32BE(4040, 104);
    expect(parseImageHeader(luks)).toMatchObject({ encryption: 'luks', payloadOffsetBytes: 2_068_480n });
  });

  it('an ISO 9660 image has its mark far behind the others', () => {
    const iso = Buffer.alloc(0x8006);
    iso.write('CD001', 0x8001);
    expect(probeFormat(iso)).toBe('iso');
    expect(probeFormat(iso.subarray(0, 0x8005))).toBe('raw');
  });

  it.each<[ImageFormat, string, number]>([
    ['luks', 'LUKS\xba\xbe\0\x02', 0],
    ['vhdx', 'vhdxfile', 0],
    ['vpc', 'conectix', 0],
    ['vdi', '\x7f\x10\xda\xbe', 0x40],
    ['ploop', 'WithoutFreeSpace', 0],
    ['raw', 'anything else', 0],
  ])('%s', (format, magic, offset) => {
    const bytes = Buffer.alloc(512);
    bytes.write(magic, offset, 'latin1');
    expect(parseImageHeader(bytes).format).toBe(format);
  });

  it('is what the definition says, whatever the bytes look like', () => {
    expect(parseImageHeader(qcow2Header({ backing: '/etc/shadow' }), 'raw')).toEqual({ format: 'raw' });
    expect(() => parseImageHeader(Buffer.alloc(512), 'qcow2')).toThrow(ImageFormatError);
  });
});

it('never fails in any other way', () => {
  const magic = fc.constantFrom(
    'QFI\xfb\0\0\0\x01',
    'QFI\xfb\0\0\0\x02',
    'QFI\xfb\0\0\0\x03',
    'QED\0',
    'KDMV',
    'LUKS\xba\xbe',
    '',
  );
  fc.assert(
    fc.property(magic, fc.uint8Array({ maxLength: 300 }), (start, rest) => {
      const bytes = Buffer.concat([Buffer.from(start, 'latin1'), rest]);
      try {
        expect(parseImageHeader(bytes).format).toBe(probeFormat(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ImageFormatError);
      }
    }),
    { numRuns: 3000 },
  );
});

it('never fails in any other way on damaged headers', () => {
  const whole = qcow2Header({ backing: '/base.img', backingFormat: 'qcow2', dataFile: 'd', incompatible: 4n });
  fc.assert(
    fc.property(fc.nat(200), fc.nat(255), fc.nat(whole.length), (offset, value, length) => {
      const bytes = Buffer.from(whole.subarray(0, length));
      if (offset < length) bytes[offset] = value;
      try {
        parseImageHeader(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(ImageFormatError);
      }
    }),
    { numRuns: 3000 },
  );
});
