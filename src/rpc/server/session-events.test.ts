import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { REMOTE_PROCEDURES as P, Program, QEMU_PROCEDURES as Q } from '../../protocol/index.ts';
import { identityToWire, type WireDomain } from '../convert.ts';
import { WIRE_EVENTS } from '../domain-events.ts';
import { servedPerTest } from '../testing/served-per-test.ts';

const fixture = servedPerTest();
const { start, openPeer } = fixture;

describe('events', () => {
  const domain = { name: 'vm', uuid: '00000000-0000-0000-0000-000000000001', id: 3 };

  it('come in the old way for one kind, until they are given back', async () => {
    await start();
    const peer = await openPeer();
    await peer.ask(P.connectDomainEventRegisterAny, { eventID: 1 });
    await expect(peer.ask(P.connectDomainEventRegisterAny, { eventID: 1 })).rejects.toThrow('registered already');
    fixture.served.driver.emit({ event: 'reboot', domain, timestampMs: 0 });
    await expect(peer.event(P.domainEventReboot)).resolves.toMatchObject({ dom: { name: 'vm', id: 3 } });
    await peer.ask(P.connectDomainEventDeregisterAny, { eventID: 1 });
    await expect(peer.ask(P.connectDomainEventDeregisterAny, { eventID: 1 })).rejects.toMatchObject({
      code: ErrorCode.INTERNAL_ERROR,
    });
    // The one after it comes, so that one did not.
    await peer.ask(P.connectDomainEventRegister, {});
    fixture.served.driver.emit({ event: 'reboot', domain, timestampMs: 0 });
    fixture.served.driver.emit({ event: 'lifecycle', type: 'stopped', detail: 'crashed', domain, timestampMs: 0 });
    const { header } = await peer.next();
    expect(header.procedure).toBe(P.domainEventLifecycle.number);
    await expect(peer.ask(P.connectDomainEventDeregister, {})).resolves.toEqual({ cbRegistered: 0 });
  });

  it('of each kind arrive as they were sent', async () => {
    await start();
    const client = await fixture.served.open();
    const samples = [
      { event: 'lifecycle', type: 'suspended', detail: 'ioerror' },
      { event: 'reboot' },
      { event: 'rtc-change', offsetSeconds: -3600 },
      { event: 'watchdog', action: 'reset' },
      { event: 'io-error', path: '/disk', device: 'virtio-disk0', action: 'stop', reason: 'enospc' },
      { event: 'control-error' },
      { event: 'block-job', device: 'vda', type: 'commit', status: 'ready' },
      { event: 'disk-change', device: 'sata0-0-0', oldSource: '/a', newSource: undefined, reason: 'missing-on-start' },
      { event: 'tray-change', device: 'sata0-0-0', reason: 'close' },
      { event: 'pm-wakeup' },
      { event: 'pm-suspend' },
      { event: 'balloon-change', actualKiB: 4096 },
      { event: 'pm-suspend-disk' },
      { event: 'device-removed', device: 'usb1' },
      { event: 'tunable', parameters: { 'blkdeviotune.total_bytes_sec': 5n, 'blkdeviotune.disk': 'vda' } },
      { event: 'agent-lifecycle', state: 'connected', reason: 'channel event' },
      { event: 'device-added', device: 'usb1' },
      { event: 'job-completed', parameters: { operation: 3, time_elapsed: 7n } },
      { event: 'device-removal-failed', device: 'usb1' },
      { event: 'metadata-change', kind: 'element', namespaceUri: 'urn:x' },
      { event: 'block-threshold', device: 'vda', path: undefined, threshold: 9n, excess: 1n },
      { event: 'memory-failure', recipient: 'guest', action: 'inject' },
      { event: 'memory-device-size-change', alias: 'virtiomem0', sizeBytes: 1_048_576 },
    ].map((event) => ({ ...event, domain, timestampMs: 5 }));
    const seen: unknown[] = [];
    for (const kind of WIRE_EVENTS) {
      client.on(kind.message, (message) => seen.push(kind.fromWire(message, 5)));
      await client.call(P.connectDomainEventCallbackRegisterAny, { eventID: kind.id, dom: undefined });
    }
    for (const sample of samples) fixture.served.driver.emit(sample as never);
    fixture.served.driver.emit({ event: 'lifecycle', type: 'stopped', detail: 'saved', domain, timestampMs: 5 });
    while (!seen.some((event) => (event as { detail?: string }).detail === 'saved')) await turn();
    for (const sample of samples) expect(seen).toContainEqual(sample);
    // Each kind of the table was asked for: none is a word that no sample uses but graphics, whose data is free.
    const kinds = new Set(WIRE_EVENTS.map(({ event }) => event));
    expect(kinds.size - 1).toBe(samples.length);
  });

  it('that do not exist cannot be asked for; those of later versions can, and never come', async () => {
    await start();
    const peer = await openPeer();
    for (const eventID of [-1, 28, 0x7fff_ffff]) {
      await expect(
        peer.ask(P.connectDomainEventCallbackRegisterAny, { eventID, dom: undefined }),
      ).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
      await expect(peer.ask(P.connectDomainEventRegisterAny, { eventID })).rejects.toMatchObject({
        code: ErrorCode.INVALID_ARG,
      });
    }
    await expect(
      peer.ask(P.connectDomainEventCallbackRegisterAny, { eventID: 27, dom: undefined }),
    ).resolves.toMatchObject({ callbackID: 0 });
  });

  it('of monitors come by domain and by name', async () => {
    await start();
    const peer = await openPeer();
    const program = Program.QEMU;
    const dom = identityToWire(domain);
    const ask = async (event: string | undefined, flags: number, of: WireDomain | undefined): Promise<number> => {
      const args = { dom: of, event, flags };
      return (await peer.ask(Q.connectDomainMonitorEventRegister, args, { program })).callbackID;
    };
    const exact = await ask('STOP', 0, dom);
    const folded = await ask('stop', 2, undefined);
    const regex = await ask('^ST', 1, undefined);
    await ask('STOP', 0, { ...dom, uuid: new Uint8Array(16) });
    await ask('RESUME', 0, dom);
    fixture.served.driver.emitMonitor({ domain, event: 'STOP', seconds: 5n, micros: 6, details: '{}' });
    const numbers = [];
    for (let count = 0; count < 3; count++) {
      const { callbackID, ...rest } = await peer.event(Q.domainMonitorEvent, program);
      expect(rest).toEqual({ dom, event: 'STOP', seconds: 5n, micros: 6, details: '{}' });
      numbers.push(callbackID);
    }
    expect(numbers).toEqual([exact, folded, regex]);
    await peer.ask(Q.connectDomainMonitorEventDeregister, { callbackID: exact }, { program });
    fixture.served.driver.emitMonitor({ domain, event: 'STOP', seconds: 5n, micros: 6, details: undefined });
    expect((await peer.event(Q.domainMonitorEvent, program)).callbackID).toBe(folded);
    await expect(ask('STOP', 4, undefined)).rejects.toMatchObject({ code: ErrorCode.INVALID_ARG });
  });

  it('are followed for no more callbacks than there may be', async () => {
    await start();
    const client = await fixture.served.open();
    const register = (): Promise<unknown> =>
      client.call(P.connectDomainEventCallbackRegisterAny, { eventID: 0, dom: undefined });
    await Promise.all(Array.from({ length: 4096 }, register));
    await expect(register()).rejects.toThrow('4096 event callbacks');
    await client.call(P.connectDomainEventCallbackDeregisterAny, { callbackID: 17 });
    await expect(register()).resolves.toEqual({ callbackID: 4096 });
  });
});
