import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { XdrError } from '../xdr/error.ts';
import { encodeRawFrame, FrameReader, type Header, MessageStatus, MessageType, Program } from './index.ts';

const HEADER: Header = {
  program: Program.REMOTE,
  version: 1,
  procedure: 208,
  type: MessageType.STREAM,
  serial: 7,
  status: MessageStatus.CONTINUE,
};

/** One message of each kind that must come whole, and data. */
const KINDS: readonly Partial<Header>[] = [
  {},
  { type: MessageType.CALL, status: MessageStatus.OK },
  { type: MessageType.STREAM_HOLE },
  { status: MessageStatus.ERROR },
  { status: MessageStatus.OK },
];

describe('FrameReader', () => {
  it('gives all messages in their order, and all data, however the bytes arrive', () => {
    const message = fc.record({ kind: fc.constantFrom(...KINDS), size: fc.nat({ max: 300 }) });
    const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), sizes, (messages, chunks) => {
        const sent = messages.map(({ kind, size }, index) => ({
          header: { ...HEADER, ...kind, serial: index },
          payload: Buffer.alloc(size, index + 1),
        }));
        const bytes = Buffer.concat(sent.map(({ header, payload }) => encodeRawFrame(header, payload)));
        const reader = new FrameReader();
        const got = new Map<number, { header: Header; payloads: Buffer[] }>();
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = chunks[turn % chunks.length] ?? 1;
          for (const { header, payload } of reader.push(bytes.subarray(at, at + size))) {
            const known = got.get(header.serial) ?? { header, payloads: [] };
            known.payloads.push(payload.rest());
            got.set(header.serial, known);
          }
          at += size;
        }
        const together = [...got.values()].map(({ header, payloads }) => ({
          header,
          payload: Buffer.concat(payloads),
        }));
        expect(together).toEqual(sent);
        for (const { header, payloads } of got.values()) {
          const mayBeCut = header.type === MessageType.STREAM && header.status === MessageStatus.CONTINUE;
          if (!mayBeCut) expect(payloads.length).toBe(1);
        }
      }),
    );
  });

  it('hands data on before their message has ended, without copying them', () => {
    const bytes = encodeRawFrame(HEADER, Buffer.alloc(1000, 'x'));
    const reader = new FrameReader();
    const chunk = Buffer.from(bytes.subarray(0, 500));
    const [frame] = reader.push(chunk);
    const data = frame?.payload.rest();
    expect(data?.length).toBe(500 - 28);
    expect(data?.buffer).toBe(chunk.buffer);
    expect(reader.push(bytes.subarray(500, 999))).toHaveLength(1);
    expect(reader.push(bytes.subarray(999))[0]?.payload.remaining).toBe(29);
    expect(reader.push(bytes)).toHaveLength(1);
  });

  it('refuses what is too long as soon as it is announced, from the next message on with another limit', () => {
    const reader = new FrameReader(100);
    expect(() => reader.push(encodeRawFrame(HEADER, Buffer.alloc(200)).subarray(0, 28))).toThrow(XdrError);
    const patient = new FrameReader(100);
    patient.allow(1000);
    expect(patient.push(encodeRawFrame(HEADER, Buffer.alloc(200)))).toHaveLength(1);
  });
});
