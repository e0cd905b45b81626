import { type Duplex, duplexPair } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { GuestConsole } from '../driver/guest-console.ts';
import { Console } from './console.ts';

function guest(): { side: Duplex; console: GuestConsole } {
  const [side, ours] = duplexPair();
  return { side, console: new GuestConsole('serial0', ours) };
}

describe('GuestConsole', () => {
  it('replays what was printed before somebody listened, to each reader', async () => {
    const { side, console } = guest();
    side.write('early\r\nla');
    const first = new Console(console);
    expect(await first.waitFor('la')).toBe('early\r\nla');
    side.write('te\r\nend');
    side.end();
    const lines: string[] = [];
    for await (const line of new Console(console).lines()) lines.push(line);
    expect(lines).toEqual(['early', 'late', 'end']);
  });

  it('hands out a prompt that no line end follows, and what comes after it as a new line', async () => {
    const { side, console } = guest();
    side.write('boot\r\nguest login: ');
    const lines = new Console(console).lines({ promptMs: 20 });
    expect((await lines.next()).value).toBe('boot');
    expect((await lines.next()).value).toBe('guest login: ');
    side.write('root\r\n');
    expect((await lines.next()).value).toBe('root');
    await lines.return();
  });

  it('lets a reader leave at a prompt', async () => {
    const { side, console } = guest();
    side.write('guest login: ');
    for await (const line of new Console(console).lines({ promptMs: 20 })) if (line.includes('login:')) break;
    side.write('more');
    expect(await new Console(console).waitFor('more')).toBe('guest login: more');
  });

  it('waits for the end of a line for ever when told to', async () => {
    const { side, console } = guest();
    side.write('half');
    const line = new Console(console).lines({ promptMs: 0 }).next();
    side.write(' and half\n');
    expect((await line).value).toBe('half and half');
  });

  it('passes input on, and fails it when the guest has ended', async () => {
    const { side, console } = guest();
    await new Console(console).write('ls\n');
    expect(String(side.read())).toBe('ls\n');
    side.end();
    await console.closed;
    await expect(new Console(console).write('x')).rejects.toThrow(/guest has ended/);
  });

  it('says what the guest printed last when a wait is in vain', async () => {
    const { side, console } = guest();
    side.write('kernel panic');
    side.end();
    await expect(new Console(console).waitFor('login:')).rejects.toThrow(/before it showed login:.*"kernel panic"/);
  });

  it('ends an iteration on abort with the reason', async () => {
    const { console } = guest();
    const abort = new AbortController();
    const waiting = new Console(console).waitFor('never', { signal: abort.signal });
    abort.abort(new Error('no patience'));
    await expect(waiting).rejects.toThrow('no patience');
  });

  it('never holds the guest up: a reader far behind loses its stream', async () => {
    const { side, console } = guest();
    const lazy = console.open();
    const failed = new Promise<Error>((resolve) => lazy.once('error', resolve));
    const chunk = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < 20; sent++) await new Promise((resolve) => side.write(chunk, resolve));
    expect((await failed).message).toMatch(/bytes behind/);
    expect(console.bytesReceived).toBe(20 * chunk.length);
  });
});
