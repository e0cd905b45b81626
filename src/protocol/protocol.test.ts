import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { Codec } from '../xdr/codec.ts';
import { XdrError } from '../xdr/error.ts';
import { XdrReader } from '../xdr/reader.ts';
import { arbitraryOf } from '../xdr/testing/arbitrary.ts';
import { XdrWriter } from '../xdr/writer.ts';
import {
  type ArgsOf,
  encodeFrame,
  encodeRawFrame,
  errorFromWire,
  errorToWire,
  FrameSplitter,
  fromTypedParams,
  type Header,
  LXC_PROCEDURES,
  MessageStatus,
  MessageType,
  messageError,
  Program,
  QEMU_PROCEDURES,
  REMOTE_PROCEDURES,
  type Row,
  readFrame,
  toTypedParams,
} from './index.ts';

const HEADER: Header = {
  program: Program.REMOTE,
  version: 1,
  procedure: 16,
  type: MessageType.CALL,
  serial: 7,
  status: MessageStatus.OK,
};

const PROGRAMS: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  remote: REMOTE_PROCEDURES,
  qemu: QEMU_PROCEDURES,
  lxc: LXC_PROCEDURES,
};
const CODECS = Object.values(PROGRAMS).flatMap((rows) =>
  Object.entries(rows).flatMap(([name, row]): [string, Codec<unknown>][] =>
    row.kind === 'event'
      ? [[name, row.message as Codec<unknown>]]
      : [
          [`${name} args`, row.args as Codec<unknown>],
          [`${name} ret`, row.ret as Codec<unknown>],
        ],
  ),
);

describe('the tables of procedures', () => {
  it('have every number once, without a gap', () => {
    for (const [program, last] of [
      ['remote', 453],
      ['qemu', 7],
      ['lxc', 1],
    ] as const) {
      const numbers = Object.values(PROGRAMS[program] ?? {}).map(({ number }) => number);
      expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: last }, (_, index) => index + 1));
    }
  });

  it('yield the types of their rows', () => {
    expectTypeOf<ArgsOf<typeof REMOTE_PROCEDURES.domainSetMemoryFlags>['memory']>().toEqualTypeOf<bigint>();
  });

  it('refuse to write on read-only connections', () => {
    expect(REMOTE_PROCEDURES.domainDestroy.writes).toBe(true);
    expect(REMOTE_PROCEDURES.domainGetInfo.writes).toBe(false);
    expect(REMOTE_PROCEDURES.domainGetXmlDesc.writes).toBe(false);
  });

  it('know the arguments that read-only connections may not give', () => {
    const { domainGetXmlDesc, domainInterfaceAddresses, domainGetVcpusFlags, domainGetInfo } = REMOTE_PROCEDURES;
    const dom = { name: 'a', uuid: new Uint8Array(16), id: -1 };
    expect([0, 1, 2, 8].map((flags) => domainGetXmlDesc.writesWhen?.({ dom, flags }))).toEqual([
      false,
      true,
      false,
      true,
    ]);
    expect([0, 1, 2].map((source) => domainInterfaceAddresses.writesWhen?.({ dom, source, flags: 0 }))).toEqual([
      false,
      true,
      false,
    ]);
    expect([1, 8, 9].map((flags) => domainGetVcpusFlags.writesWhen?.({ dom, flags }))).toEqual([false, true, true]);
    expect('writesWhen' in domainGetInfo).toBe(false);
  });

  it('write and read any value of any procedure', () => {
    for (const [name, codec] of CODECS) {
      fc.assert(
        fc.property(arbitraryOf(codec), (value) => {
          const writer = new XdrWriter();
          codec.write(writer, value);
          const reader = new XdrReader(writer.bytes());
          const read = codec.read(reader);
          expect(reader.remaining, name).toBe(0);
          const again = new XdrWriter();
          codec.write(again, read);
          expect(again.bytes().equals(writer.bytes()), name).toBe(true);
        }),
        { numRuns: 3 },
      );
    }
  });

  it('answer any bytes with a value or an XdrError', () => {
    fc.assert(
      fc.property(fc.constantFrom(...CODECS), fc.uint8Array({ maxLength: 200 }), ([, codec], bytes) => {
        try {
          codec.read(new XdrReader(Buffer.from(bytes)));
        } catch (error) {
          expect(error).toBeInstanceOf(XdrError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('FrameSplitter', () => {
  const frames = [1, 2, 3].map((serial) => encodeRawFrame({ ...HEADER, serial }, Buffer.alloc(serial * 40, serial)));

  it('finds the messages however the bytes arrive', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }), (sizes) => {
        const splitter = new FrameSplitter();
        const bytes = Buffer.concat(frames);
        const seen: number[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          for (const frame of splitter.push(bytes.subarray(at, at + size))) seen.push(readFrame(frame).header.serial);
          at += size;
        }
        expect(seen).toEqual([1, 2, 3]);
        expect(splitter.pending).toBe(0);
      }),
    );
  });

  it('keeps no more than has arrived, whatever is promised and however small the pieces are', () => {
    const splitter = new FrameSplitter();
    const bytes = encodeRawFrame(HEADER, Buffer.alloc(1_000_000, 'x'));
    for (let at = 0; at < bytes.length; at += 7) {
      const frames = splitter.push(bytes.subarray(at, at + 7));
      expect(splitter.held).toBeLessThanOrEqual(Math.max(4096, splitter.pending * 2));
      if (at + 7 >= bytes.length) expect(frames[0]?.equals(bytes.subarray(4))).toBe(true);
    }
    expect(splitter.held).toBe(0);
  });

  it('gives a message of the usual size its room once, when more than its beginning has arrived', () => {
    const splitter = new FrameSplitter();
    const bytes = encodeRawFrame(HEADER, Buffer.alloc(262_120, 'x'));
    splitter.push(bytes.subarray(0, 4096));
    expect(splitter.held).toBe(4096);
    splitter.push(bytes.subarray(4096, 5000));
    expect(splitter.held).toBe(bytes.length);
    expect(splitter.push(bytes.subarray(5000))[0]?.equals(bytes.subarray(4))).toBe(true);
  });

  it.each([0, 4, 27, 0x7fff_ffff, 0xffff_ffff])('refuses a length of %i at once', (length) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    expect(() => new FrameSplitter().push(bytes)).toThrow(XdrError);
  });

  it('refuses unknown types and statuses', () => {
    const frame = (field: number, value: number): Buffer => {
      const bytes = Buffer.from(encodeRawFrame(HEADER, Buffer.alloc(0)));
      bytes.writeInt32BE(value, 4 + field * 4);
      return bytes.subarray(4);
    };
    expect(() => readFrame(frame(3, 9))).toThrow(/message type 9/);
    expect(() => readFrame(frame(5, -1))).toThrow(/status -1/);
  });
});

describe('errors', () => {
  it('keep all of their members', () => {
    const error = new VirtError('no such domain', {
      code: ErrorCode.NO_DOMAIN,
      domain: 10,
      str1: 'a',
      str2: 'b',
      int1: 3,
    });
    const frame = encodeFrame({ ...HEADER, status: MessageStatus.ERROR }, messageError, errorToWire(error));
    const back = errorFromWire(messageError.read(readFrame(frame.subarray(4)).payload));
    expect(back).toMatchObject({
      message: 'no such domain',
      code: 42,
      domain: 10,
      str1: 'a',
      str2: 'b',
      int1: 3,
      int2: -1,
    });
  });
});

describe('typed parameters', () => {
  it.each<[string, number | bigint | string | boolean, number, unknown]>([
    ['hard_limit', 1024, 4, 1024n],
    ['vcpu_quota', -1, 3, -1n],
    ['cpu_shares', 5n, 4, 5n],
    ['weight', 500n, 2, 500],
    ['device_weight', '/dev/sda,500', 7, '/dev/sda,500'],
    ['numa_mode', 0, 1, 0],
    ['state.state', 1, 1, 1],
    ['vcpu.current', 2, 2, 2],
    ['net.count', 2, 2, 2],
    ['cpu.time', 7n, 4, 7n],
    ['rd_bytes', 7n, 3, 7n],
    ['load.1m', 1, 5, 1],
    ['block.3.backingIndex', 4n, 2, 4],
    ['block.3.rd.bytes', 4n, 4, 4n],
    ['iothread.1.poll-grow', 2n ** 40n, 4, 2n ** 40n],
    ['parallel.connections', 4, 1, 4],
    ['inbound.average', 4, 2, 4],
    ['process-id', 4, 3, 4n],
    ['vcpu.0.halted', true, 6, 1],
    ['something.new', -3, 3, -3n],
    ['ratio', 0.5, 5, 0.5],
  ])('%s has libvirt’s type', (name, value, type, wire) => {
    const params = toTypedParams({ [name]: value });
    expect(params).toEqual([{ field: name, value: { type, value: wire } }]);
  });

  it('come back as plain values', () => {
    expect(fromTypedParams(toTypedParams({ a: 1, b: 'x', 'vcpu.1.halted': false }))).toEqual({
      a: 1n,
      b: 'x',
      'vcpu.1.halted': false,
    });
  });

  it('refuse what their type cannot hold', () => {
    expect(() => toTypedParams({ weight: 0.5 })).toThrow(XdrError);
  });
});
