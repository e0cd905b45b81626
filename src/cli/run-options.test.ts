import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseRunOptions, type RunOptions } from './run-options.ts';
import { UsageError } from './usage.ts';

function parse(...args: string[]): RunOptions {
  const options = parseRunOptions(args);
  if (typeof options === 'string') throw new Error(`asked for ${options}`);
  return options;
}

describe('virt-qemu-run’s options', () => {
  it.each([
    [['-r', '/root', '-s', 'a.xml,b', '-v', 'guest.xml']],
    [['--root=/root', '--secret=a.xml,b', '--verbose', 'guest.xml']],
    [['guest.xml', '--root', '/root', '--secret', 'a.xml,b', '--verbose']],
  ])('%j', (args) => {
    expect(parse(...args)).toMatchObject({
      xmlPath: 'guest.xml',
      root: '/root',
      secrets: [{ xmlPath: 'a.xml', valuePath: 'b' }],
      verbose: true,
      debug: false,
    });
  });

  it('a secret may be one of several, and its value’s name may hold commas', () => {
    expect(parse('-s', 'a,b', '-s', 'c,d,e', 'x').secrets).toEqual([
      { xmlPath: 'a', valuePath: 'b' },
      { xmlPath: 'c', valuePath: 'd,e' },
    ]);
    for (const text of ['a', ',b', 'a,', ',']) expect(() => parse('-s', text, 'x')).toThrow(UsageError);
  });

  it('help and version win over everything but a wrong option', () => {
    expect(parseRunOptions(['-h', '-V'])).toBe('help');
    expect(parseRunOptions(['-V'])).toBe('version');
    expect(() => parseRunOptions(['-h', '--nope'])).toThrow(UsageError);
  });
});

describe('ours', () => {
  it('are all off by default', () => {
    expect(parse('x')).toEqual({
      xmlPath: 'x',
      root: undefined,
      secrets: [],
      verbose: false,
      debug: false,
      accel: undefined,
      console: false,
      timeoutMs: undefined,
      name: undefined,
      json: false,
      timeline: false,
      dryRun: false,
      graceful: false,
      listen: undefined,
    });
  });

  it('a root is named from the working directory, and --debug is verbose', () => {
    expect(parse('-r', 'state', '-d', 'x')).toMatchObject({ root: resolve('state'), debug: true, verbose: true });
    expect(() => parse('--root=', 'x')).toThrow('--root takes a directory');
  });

  it('a bare dash is standard input, not an option', () => {
    expect(parse('-').xmlPath).toBe('-');
  });
});
