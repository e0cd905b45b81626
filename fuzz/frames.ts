/**
 * Damaged messages of libvirt's protocol, made from recorded ones, and what must hold for them: a message is refused with an XdrError,
 * or is read and can be written and read again. `fuzz/protocol.ts` runs it for as long as wanted, `tests/unit/hostile-frames.test.ts`
 * shortly.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { FrameSplitter } from '../src/protocol/index.ts';
import { describeFrame } from '../src/protocol/testing/describe-frame.ts';
import { XdrError } from '../src/xdr/error.ts';

export interface NamedFrame {
  /** As `describeFrame` calls it. */
  readonly title: string;
  readonly bytes: Buffer;
}

/** What passed between virsh and libvirtd 9.0, as `tests/support/frame-lines.ts` writes it. */
export function readFrames(): NamedFrame[] {
  const file = new URL('../tests/fixtures/protocol/virsh-libvirtd-9.0.txt', import.meta.url);
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [, title = '', hex = ''] = line.split('\t');
      return { title, bytes: Buffer.from(hex, 'hex') };
    });
}

/** Words that lengths, counts, discriminants and numbers of procedures turn into. */
const WORDS = [
  0, 1, 2, 3, 6, 24, 28, 255, 453, 454, 0x4000, 0x4001, 0x40_0000, 0x40_0001, 0x200_0004, 0x200_0005,
] as const;
const LARGE_WORDS = [
  0x0100_0000, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff, 0x2000_8086,
] as const;

interface Edit {
  readonly kind: 'word' | 'byte' | 'cut' | 'insert' | 'remove' | 'length';
  readonly at: number;
  readonly value: number;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  // Most messages should pass the splitter.
  kind: fc.constantFrom('word', 'word', 'word', 'byte', 'byte', 'cut', 'insert', 'remove', 'length'),
  at: fc.nat(),
  value: fc.oneof(fc.constantFrom(...WORDS, ...LARGE_WORDS), fc.integer({ min: 0, max: 0xffff_ffff })),
});

/** One of `frames` after up to `edits` edits. */
export function damagedFrame(frames: readonly Buffer[], edits: number): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...frames), fc.array(edit, { minLength: 1, maxLength: edits }))
    .map(([frame, all]) => all.reduce(applyEdit, frame));
}

/** @throws Error where something else comes out than the message or a refusal */
export function judge(bytes: Buffer): 'read' | 'refused' {
  let judged: 'read' | 'refused' = 'refused';
  for (const frame of split(bytes)) {
    const whole = Buffer.concat([bytes.subarray(0, 4), frame]);
    const first = attempt(() => describeFrame(whole));
    if (first === undefined) continue;
    // What a peer may have written in more than one way comes out in the one way.
    const second = describeFrame(first.again);
    if (second.left !== 0 || !second.again.equals(first.again)) {
      throw new Error(`${first.title} is not the same when it is read again: ${whole.toString('hex')}`);
    }
    judged = 'read';
  }
  return judged;
}

/** The messages in the bytes, which come in two pieces; none where the splitter refuses them. */
function split(bytes: Buffer): Buffer[] {
  const splitter = new FrameSplitter();
  const middle = bytes.length >> 1;
  return attempt(() => [...splitter.push(bytes.subarray(0, middle)), ...splitter.push(bytes.subarray(middle))]) ?? [];
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof XdrError) return undefined;
    throw error;
  }
}

function applyEdit(frame: Buffer, { kind, at, value }: Edit): Buffer {
  if (frame.length < 8) return frame;
  const spot = 4 + (at % (frame.length - 4));
  switch (kind) {
    case 'word': {
      const bytes = Buffer.from(frame);
      bytes.writeUInt32BE(value, Math.min(spot & ~3, bytes.length - 4));
      return bytes;
    }
    case 'byte': {
      const bytes = Buffer.from(frame);
      bytes[spot] = value & 0xff;
      return bytes;
    }
    case 'length': {
      const bytes = Buffer.from(frame);
      bytes.writeUInt32BE(value);
      return bytes;
    }
    case 'cut':
      return withLength(frame.subarray(0, spot));
    case 'insert':
      return withLength(Buffer.concat([frame.subarray(0, spot), Buffer.alloc(4, value & 0xff), frame.subarray(spot)]));
    default:
      return withLength(Buffer.concat([frame.subarray(0, spot), frame.subarray(spot + 4)]));
  }
}

function withLength(frame: Buffer): Buffer {
  const bytes = Buffer.from(frame);
  bytes.writeUInt32BE(bytes.length);
  return bytes;
}
