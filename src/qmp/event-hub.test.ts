import { describe, expect, it } from 'vitest';
import { QmpEventOverflowError } from './errors.ts';
import { EventHub, type QmpEvent } from './event-hub.ts';

const event = (name: string, data = {}): QmpEvent => ({ name, data, timestampUs: 1 });
const endsWell = (): boolean => true;

describe('EventHub', () => {
  it('keeps early events for those who subscribe in the same tick, newest first to stay', async () => {
    const hub = new EventHub(2);
    for (const name of ['A', 'B', 'C']) hub.emit(event(name));
    expect(hub.dropped).toBe(1);
    const seen: string[] = [];
    hub.subscribe('C', ({ name }) => seen.push(`one:${name}`));
    hub.emit(event('C'));
    const reader = hub.iterate(endsWell);
    expect((await reader.next()).value.name).toBe('B');
    expect((await reader.next()).value.name).toBe('C');
    expect((await reader.next()).value.name).toBe('C');
    expect(seen).toEqual(['one:C', 'one:C']);
  });

  it('does not keep events once somebody has subscribed', async () => {
    const hub = new EventHub(10);
    hub.subscribe('A', () => {})();
    await Promise.resolve();
    hub.emit(event('B'));
    const next = hub.iterate(endsWell).next();
    hub.emit(event('C'));
    expect((await next).value.name).toBe('C');
  });

  it('once filters, and leaves nothing behind', async () => {
    const hub = new EventHub(10);
    const controller = new AbortController();
    const wait = hub.once('DEVICE_DELETED', ({ data }) => data['device'] === 'b', controller.signal);
    hub.emit(event('DEVICE_DELETED', { device: 'a' }));
    hub.emit(event('DEVICE_DELETED', { device: 'b' }));
    expect((await wait).data).toEqual({ device: 'b' });
    expect(hub.subscriberCount).toBe(0);
    const aborted = hub.once('X', undefined, controller.signal);
    controller.abort(new Error('stop'));
    await expect(aborted).rejects.toThrow('stop');
    expect(hub.subscriberCount).toBe(0);
  });

  it('a reader that is too slow is told so, after what it has', async () => {
    const hub = new EventHub(2);
    const reader = hub.iterate(endsWell);
    await Promise.resolve();
    for (const name of ['A', 'B', 'C']) hub.emit(event(name));
    expect(hub.subscriberCount).toBe(0);
    expect((await reader.next()).value.name).toBe('A');
    expect((await reader.next()).value.name).toBe('B');
    await expect(reader.next()).rejects.toBeInstanceOf(QmpEventOverflowError);
    expect((await reader.next()).done).toBe(true);
  });

  it('an iteration ends with the connection, well or not', async () => {
    for (const isWell of [true, false]) {
      const hub = new EventHub(2);
      const reader = hub.iterate(() => isWell);
      const waiting = hub.iterate(() => isWell).next();
      hub.emit(event('A'));
      hub.end(new Error('gone'));
      expect((await waiting).value.name).toBe('A');
      expect((await reader.next()).value.name).toBe('A');
      if (isWell) expect((await reader.next()).done).toBe(true);
      else await expect(reader.next()).rejects.toThrow('gone');
    }
  });

  it('early events are still there after the end, and then the end', async () => {
    const hub = new EventHub(2);
    hub.emit(event('SHUTDOWN'));
    hub.end(new Error('gone'));
    const names: string[] = [];
    for await (const { name } of hub.iterate(endsWell)) names.push(name);
    expect(names).toEqual(['SHUTDOWN']);
    await expect(hub.once('SHUTDOWN')).rejects.toThrow('gone');
    expect(hub.subscriberCount).toBe(0);
  });

  it('leaving a loop, or aborting it, unsubscribes', async () => {
    const hub = new EventHub(5);
    const controller = new AbortController();
    const reader = hub.iterate(endsWell, controller.signal);
    hub.emit(event('A'));
    for await (const { name } of reader) {
      expect(name).toBe('A');
      break;
    }
    expect(hub.subscriberCount).toBe(0);
    const next = hub.iterate(endsWell, controller.signal).next();
    controller.abort(new Error('stop'));
    await expect(next).rejects.toThrow('stop');
    expect(hub.subscriberCount).toBe(0);
  });

  it('a listener ended by an earlier one hears no more', async () => {
    const hub = new EventHub(5);
    const seen: string[] = [];
    hub.subscribe('A', () => stop());
    const stop = hub.subscribe('A', () => seen.push('second'));
    await Promise.resolve();
    hub.emit(event('A'));
    expect(seen).toEqual([]);
  });
});
