/** Progress on a terminal and elsewhere. */
import { describe, expect, it } from 'vitest';
import { ProgressLine } from './progress-line.ts';

function record(isTTY: boolean, columns = 20): { text: () => string; line: ProgressLine } {
  let written = '';
  const line = new ProgressLine({
    isTTY,
    columns,
    write: (text: string) => {
      written += text;
    },
  });
  return { text: () => written, line };
}

describe('progress', () => {
  it('is one line that is written over on a terminal, never longer than it, and gone at the end', () => {
    const { text, line } = record(true);
    line.show('first');
    line.show('a second one that is longer than the terminal');
    line.note('stays');
    line[Symbol.dispose]();
    expect(text()).toBe('\r\u001b[Kfirst\r\u001b[Ka second one that i\r\u001b[Kstays\n');
  });

  it('is plain lines elsewhere, each said once', () => {
    const { text, line } = record(false);
    line.show('one');
    line.show('one');
    line.show('two');
    line.clear();
    expect(text()).toBe('one\ntwo\n');
  });

  it('lets no builder steer the terminal', () => {
    const { text, line } = record(false);
    line.show('a\u001b]0;title\u0007b\u009b31m');
    expect(text()).toBe('a ]0;title b 31m\n');
  });
});
