/**
 * Recorded messages of libvirt's protocol as lines of text: whose, what, and the bytes. Of each kind a few, short ones, so that the
 * recording stays small. `fuzz/frames.ts` reads them.
 */
import { describeFrame } from '../../src/protocol/testing/describe-frame.ts';
import type { RecordedFrame } from './recording-proxy.ts';

/** Messages that are kept of each kind, and the bytes of the longest. */
const KEPT = 1;
const LONGEST = 1200;

export function frameLines(frames: readonly RecordedFrame[]): string {
  const counts = new Map<string, number>();
  const lines = frames.flatMap(({ from, bytes }) => {
    const { title } = describeFrame(bytes);
    // All errors have one structure, whatever they are about.
    const kind = title.endsWith(' error') ? 'error' : title;
    const count = counts.get(kind) ?? 0;
    if (count >= (kind === 'error' ? 5 : KEPT) || bytes.length > LONGEST) return [];
    counts.set(kind, count + 1);
    return [`${from}\t${title}\t${bytes.toString('hex')}`];
  });
  return `${lines.join('\n')}\n`;
}
