import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import { type EventSituation, pauseReasonOf, readGuestEvent } from './guest-events.ts';

function situation(xml = '', overrides: Partial<EventSituation> = {}): EventSituation {
  const domain: Domain = parseDomain(`<domain type='qemu'>${xml}<devices/></domain>`).domain;
  return { domain, state: DomainState.RUNNING, pauseReason: undefined, rebooting: false, ending: false, ...overrides };
}

const details = (meaning: ReturnType<typeof readGuestEvent>) =>
  (meaning.events ?? []).map((event) => (event.event === 'lifecycle' ? `${event.type} ${event.detail}` : event.event));

describe('SHUTDOWN', () => {
  it.each([
    ['', { guest: true, reason: 'guest-shutdown' }, 'shutdown guest', 'quit'],
    ['', { guest: false, reason: 'host-qmp-system-powerdown' }, 'shutdown host', 'quit'],
    ['<on_poweroff>restart</on_poweroff>', { guest: true, reason: 'guest-shutdown' }, undefined, 'restart'],
    ['<on_poweroff>restart</on_poweroff>', { guest: true, reason: 'guest-reset' }, 'shutdown guest', 'quit'],
    ['<on_poweroff>preserve</on_poweroff>', { guest: true, reason: 'guest-shutdown' }, 'shutdown guest', undefined],
  ])('%s %o', (xml, data, event, followUp) => {
    const meaning = readGuestEvent('SHUTDOWN', data, situation(xml));
    expect(details(meaning)).toEqual(event === undefined ? [] : [event]);
    expect(meaning.followUp?.kind).toBe(followUp);
  });

  it('resets a guest that was asked to reboot, and is no news once the end is decided', () => {
    expect(readGuestEvent('SHUTDOWN', { guest: true }, situation('', { rebooting: true }))).toEqual({
      followUp: { kind: 'restart' },
    });
    expect(readGuestEvent('SHUTDOWN', { guest: false }, situation('', { ending: true }))).toEqual({});
    expect(
      readGuestEvent('SHUTDOWN', { guest: false, reason: 'host-signal' }, situation('', { ending: true })),
    ).toEqual({ events: [{ event: 'lifecycle', type: 'shutdown', detail: 'host' }] });
  });
});

describe('pauses', () => {
  it('tell a request from an I/O error and a watchdog', () => {
    expect(readGuestEvent('STOP', {}, situation()).state).toEqual({
      state: DomainState.PAUSED,
      reason: StateReason.paused.USER,
    });
    const pauseReason = pauseReasonOf('BLOCK_IO_ERROR', { action: 'stop' });
    const meaning = readGuestEvent('STOP', {}, situation('', { pauseReason }));
    expect(meaning.state?.reason).toBe(StateReason.paused.IOERROR);
    expect(details(meaning)).toEqual(['suspended ioerror']);
    expect(pauseReasonOf('BLOCK_IO_ERROR', { action: 'report' })).toBeUndefined();
    expect(pauseReasonOf('WATCHDOG', { action: 'pause' })).toBe(StateReason.paused.WATCHDOG);
  });

  it('are not what a guest does that is off', () => {
    expect(readGuestEvent('STOP', {}, situation('', { state: DomainState.SHUTDOWN }))).toEqual({});
    expect(readGuestEvent('RESUME', {}, situation())).toEqual({});
  });
});

describe('crashes', () => {
  it.each([
    ['', 'quit'],
    ['<on_crash>restart</on_crash>', 'restart'],
    ['<on_crash>preserve</on_crash>', undefined],
    ['<on_crash>coredump-destroy</on_crash>', 'dump'],
    ['<on_crash>coredump-restart</on_crash>', 'dump'],
  ])('%s', (xml, followUp) => {
    const meaning = readGuestEvent('GUEST_PANICKED', {}, situation(xml));
    expect(meaning.state?.state).toBe(DomainState.CRASHED);
    expect(meaning.followUp?.kind).toBe(followUp);
  });
});

describe('dumps', () => {
  it('come before what is done with a guest that crashed, or whose watchdog expired', () => {
    const crash = (action: string) =>
      readGuestEvent('GUEST_PANICKED', {}, situation(`<on_crash>${action}</on_crash>`)).followUp;
    expect(crash('coredump-restart')).toEqual({ kind: 'dump', cause: 'crash', next: { kind: 'restart' } });
    expect(crash('coredump-destroy')).toMatchObject({ next: { kind: 'quit', detail: 'crashed' } });
    const watchdog = (action: string) => {
      const devices = `<watchdog model='i6300esb' action='${action}'/>`;
      const { domain } = parseDomain(`<domain type='qemu'><devices>${devices}</devices></domain>`);
      return readGuestEvent('WATCHDOG', { action: 'pause' }, situation('', { domain })).followUp;
    };
    expect(watchdog('dump')).toEqual({ kind: 'dump', cause: 'watchdog', next: { kind: 'resume' } });
    expect(watchdog('pause')).toBeUndefined();
  });
});

describe('other events', () => {
  it('have libvirt’s names and units', () => {
    expect(readGuestEvent('BALLOON_CHANGE', { actual: 2 ** 20 }, situation()).events).toEqual([
      { event: 'balloon-change', actualKiB: 1024 },
    ]);
    expect(readGuestEvent('DEVICE_TRAY_MOVED', { id: 'ide0', 'tray-open': true }, situation()).events).toEqual([
      { event: 'tray-change', device: 'ide0', reason: 'open' },
    ]);
    expect(readGuestEvent('DEVICE_DELETED', { path: '/machine/x' }, situation())).toEqual({});
    expect(readGuestEvent('NIC_RX_FILTER_CHANGED', {}, situation())).toEqual({});
  });

  it('know the guest agent’s channel', () => {
    const channel =
      "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/><alias name='channel0'/></channel>";
    const { domain } = parseDomain(`<domain type='qemu'><devices>${channel}</devices></domain>`);
    const at = { ...situation(), domain };
    expect(readGuestEvent('VSERPORT_CHANGE', { id: 'channel0', open: true }, at).events).toMatchObject([
      { state: 'connected' },
    ]);
    expect(readGuestEvent('VSERPORT_CHANGE', { id: 'channel1', open: true }, at)).toEqual({});
  });

  it('name the disk that an I/O error is of, however QEMU does', () => {
    const devices = `<disk type='file' device='disk'><source file='/a.img' index='3'/><target dev='vda'/><alias name='virtio-disk0'/></disk>`;
    const { domain } = parseDomain(`<domain type='qemu'><devices>${devices}</devices></domain>`);
    const error = { event: 'io-error', device: 'virtio-disk0', path: '/a.img', action: 'stop' };
    const read = (data: JsonObject) =>
      readGuestEvent('BLOCK_IO_ERROR', { action: 'stop', ...data }, situation('', { domain })).events;
    const byNode = read({ 'node-name': 'libvirt-3-format', nospace: true, reason: 'No space left on device' });
    expect(byNode).toEqual([{ ...error, reason: 'enospc' }]);
    const byPlace = read({
      'qom-path': '/machine/peripheral/virtio-disk0/virtio-backend',
      reason: 'Input/output error',
    });
    expect(byPlace).toEqual([{ ...error, reason: '' }]);
    expect(read({ 'node-name': 'libvirt-9-format' })).toEqual([{ ...error, device: '', path: '', reason: '' }]);
  });
});
