import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  displayName,
  InputError,
  onePositional,
  parseChoice,
  parseDurationMs,
  parseOptions,
  readInput,
  systemMessage,
  UsageError,
} from './usage.ts';

describe('parseDurationMs', () => {
  it.each([
    ['90', 90_000],
    ['90s', 90_000],
    ['500ms', 500],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDurationMs(text, '--timeout')).toBe(ms);
  });

  it.each(['', '0', '-1s', '1 s', '1d', 's', '1e9', '1000h', 'Infinity', '0x10', '1,5s'])('refuses %j', (text) => {
    expect(() => parseDurationMs(text, '--timeout')).toThrow(UsageError);
  });
});

describe('options and arguments', () => {
  it('an unknown option, a missing and an unwanted value: one sentence each', () => {
    const parse = (...args: string[]): unknown =>
      parseOptions(args, { root: { type: 'string', short: 'r' }, json: { type: 'boolean' } });
    expect(() => parse('--rot')).toThrow(new UsageError("Unknown option '--rot'"));
    expect(() => parse('--root')).toThrow(UsageError);
    expect(() => parse('--root')).toThrow(/--root.*missing/);
    expect(() => parse('--json=yes')).toThrow(/--json.*does not take an argument/);
    expect(parse('-r', 'x', '--', '--json')).toMatchObject({ values: { root: 'x' }, positionals: ['--json'] });
  });

  it('exactly one positional, one of several words', () => {
    expect(onePositional(['a'], 'XML')).toBe('a');
    expect(() => onePositional([], 'XML')).toThrow('XML is missing');
    expect(() => onePositional(['a', 'b'], 'XML')).toThrow("unexpected argument 'b'");
    expect(parseChoice('kvm', ['kvm', 'tcg'], '--accel')).toBe('kvm');
    expect(() => parseChoice('', ['kvm', 'tcg'], '--accel')).toThrow("--accel takes kvm, tcg, not ''");
  });
});

describe('input', () => {
  it('is read whole, or the error names the file and the cause once', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'usage-'));
    try {
      writeFileSync(join(directory, 'a.xml'), '<domäne/>');
      expect(await readInput(join(directory, 'a.xml'))).toBe('<domäne/>');
      const missing = join(directory, 'b.xml');
      await expect(readInput(missing)).rejects.toThrow(
        new InputError(`cannot read ${missing}: no such file or directory`),
      );
      await expect(readInput(directory)).rejects.toThrow(`cannot read ${directory}: illegal operation on a directory`);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('standard input has a name in messages', () => {
    expect(displayName('-')).toBe('<stdin>');
    expect(displayName('./-')).toBe('./-');
  });

  it('what is no system error keeps its words', () => {
    expect(systemMessage(new Error('odd'))).toBe('odd');
    expect(systemMessage('odd')).toBe('odd');
  });
});
