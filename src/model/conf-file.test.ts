import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfSyntaxError, parseConf } from './conf-file.ts';

describe('the format', () => {
  it('has numbers, texts in three kinds of quotation marks, and lists', () => {
    const text = `# a comment\r
max_files = 32768 # behind a value
user="root"
dir = '/a "b"'
long = """two
lines"""
empty = []
acl = [
  "/dev/null", # first
  '/dev/kvm',
]
negative = -1`;
    expect(parseConf(text)).toEqual([
      { key: 'max_files', value: 32_768, line: 2 },
      { key: 'user', value: 'root', line: 3 },
      { key: 'dir', value: '/a "b"', line: 4 },
      { key: 'long', value: 'two\nlines', line: 5 },
      { key: 'empty', value: [], line: 7 },
      { key: 'acl', value: ['/dev/null', '/dev/kvm'], line: 8 },
      { key: 'negative', value: -1, line: 12 },
    ]);
  });

  it.each([
    ['a', /^f:1: '=' is missing after a$/],
    ['\n\na = ', /^f:3: the value of a is .*, not the end of the line$/],
    ['a = yes', /not 'yes'/],
    ['a = "x', /^f:1: the text of a does not end/],
    ['a = "x\ny"', /does not end/],
    ['a = [ "x" "y" ]', /',' or ']' is missing in the list of a, begun in line 1/],
    ['a = [\n"x",\n', /^f:3: the list of a/],
    ['a = 1 2', /nothing may follow the value of a, but '2' does/],
    ['a = 1\na = 2', /^f:2: a is set already in line 1$/],
    ['= 1', /a line begins with a key/],
    ['a = 12k', /not '12k'/],
  ])('%j is refused with its line', (text, words) => {
    expect(() => parseConf(text, 'f')).toThrow(ConfSyntaxError);
    expect(() => parseConf(text, 'f')).toThrow(words);
  });

  it('ends with any text, one way or the other', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', '=', '"', '[', ']', ',', '\n', '#', ' ', '1', "'") }),
        (text) => {
          try {
            parseConf(text);
          } catch (error) {
            expect(error).toBeInstanceOf(ConfSyntaxError);
          }
        },
      ),
    );
  });
});
