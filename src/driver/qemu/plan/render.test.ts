import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fakeCapabilities } from '../../../../tests/support/plan-context.ts';
import type { Part } from './parts.ts';
import { formatCommand, quoteForShell, renderPart } from './render.ts';

const MODERN = fakeCapabilities({ features: ['device-json-hotplug', 'object-json', 'netdev-json'] });
const OLD = fakeCapabilities();

describe('rendering a part', () => {
  it.each<[Part, string[], string[]]>([
    [
      { kind: 'device', props: { driver: 'x', id: 'a,b', on: true, size: 2n ** 63n, none: undefined } },
      ['-device', '{"driver":"x","id":"a,b","on":true,"size":9223372036854775808}'],
      ['-device', 'x,id=a,,b,on=on,size=9223372036854775808'],
    ],
    [
      { kind: 'object', props: { 'qom-type': 'secret', id: 's', hosts: [1, 2] } },
      ['-object', '{"qom-type":"secret","id":"s","hosts":[1,2]}'],
      ['-object', 'secret,id=s,hosts=1,hosts=2'],
    ],
    [
      { kind: 'netdev', props: { type: 'user', id: 'n' } },
      ['-netdev', '{"type":"user","id":"n"}'],
      ['-netdev', 'user,id=n'],
    ],
    [
      { kind: 'chardev', props: { backend: 'file', id: 'c', path: '/a,b', append: false } },
      ['-chardev', 'file,id=c,path=/a,,b,append=off'],
      ['-chardev', 'file,id=c,path=/a,,b,append=off'],
    ],
  ])('part %#', (part, modern, old) => {
    expect(renderPart(part, MODERN)).toEqual(modern);
    expect(renderPart(part, OLD)).toEqual(old);
  });

  it('writes block nodes and audio as JSON always', () => {
    expect(renderPart({ kind: 'blockdev', props: { driver: 'file', filename: 'a,b' } }, OLD)).toEqual([
      '-blockdev',
      '{"driver":"file","filename":"a,b"}',
    ]);
  });
});

describe('the shell command', () => {
  it('has one option a line, quoted where needed', () => {
    const parts: Part[] = [
      { kind: 'option', option: 'S' },
      { kind: 'keyval', option: 'name', props: { guest: "it's" }, implied: 'guest' },
    ];
    const plan = { binary: '/q', parts, fds: [], files: [], helpers: [], deferred: [], environment: { A: 'b c' } };
    expect(formatCommand(plan, OLD)).toBe("A='b c' \\\n/q \\\n-S \\\n-name 'it'\\''s'\n");
  });

  it('quotes so that a shell reads the same text back', () => {
    const unquote = (text: string) => (text.startsWith("'") ? text.slice(1, -1).replaceAll("'\\''", "'") : text);
    fc.assert(fc.property(fc.string(), (text) => unquote(quoteForShell(text)) === text));
  });
});
