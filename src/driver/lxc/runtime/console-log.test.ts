import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConsoleLog } from './console-log.ts';

const STAMP = '2026-01-02T03:04:05.186313186+00:00';

describe('the log of a console', () => {
  it('gives back what was printed, lines and parts of lines', () => {
    const log = Buffer.from(
      `${STAMP} stdout F one\r\n${STAMP} stdout P login: \n${STAMP} stdout F root  x\n${STAMP} std`,
    );
    const { output, rest } = parseConsoleLog(log);
    expect(output.toString()).toBe('one\r\nlogin: root  x\n');
    expect(rest.toString()).toBe(`${STAMP} std`);
  });

  it('gives the same wherever it is cut', () => {
    const record = fc.record({ partial: fc.boolean(), text: fc.string({ unit: 'binary', maxLength: 20 }) });
    fc.assert(
      fc.property(fc.array(record, { maxLength: 8 }), fc.nat(), (records, cut) => {
        const clean = records.map(({ partial, text }) => ({ partial, text: text.replaceAll('\n', '') }));
        const log = Buffer.from(
          clean.map(({ partial, text }) => `${STAMP} stdout ${partial ? 'P' : 'F'} ${text}\n`).join(''),
        );
        const at = log.length === 0 ? 0 : cut % log.length;
        const first = parseConsoleLog(log.subarray(0, at));
        const second = parseConsoleLog(Buffer.concat([first.rest, log.subarray(at)]));
        const printed = clean.map(({ partial, text }) => (partial ? text : `${text}\n`)).join('');
        expect(Buffer.concat([first.output, second.output]).toString()).toBe(Buffer.from(printed).toString());
      }),
    );
  });
});
