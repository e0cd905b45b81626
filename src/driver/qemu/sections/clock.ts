/** `<clock>`: `-rtc`, the timers that are options of their own, and what QEMU refuses. CPU timers are in `cpu-features.ts`. */
import type { Clock, Timer } from '../../../model/domain/clock.ts';
import { hasProperty } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type HostClock, type PlanContext, refuse } from '../context.ts';
import { archOf, isArm, isX86 } from '../machine.ts';
import type { Part } from '../plan/parts.ts';

/** `-rtc` and the PIT and HPET settings. */
export function planClock(context: PlanContext): Part[] {
  const clock = context.domain.clock ?? DEFAULT_CLOCK;
  if (clock.offset === 'timezone' && clock.timezone !== undefined) context.environment['TZ'] = clock.timezone;
  const rtc = clock.timers.find(({ name }) => name === 'rtc');
  const props = {
    base: rtcBase(clock, context.hostClock),
    clock: rtc?.track === undefined ? undefined : RTC_CLOCKS[rtc.track],
    driftfix: rtc?.tickpolicy === 'catchup' ? 'slew' : undefined,
  };
  return [{ kind: 'keyval', option: 'rtc', props }, ...clock.timers.flatMap((timer) => planTimer(timer, context))];
}

const DEFAULT_CLOCK: Clock = { offset: 'utc', timers: [] };

/** QEMU's names of what drives the RTC; `boot` is refused in validation. */
const RTC_CLOCKS = { boot: undefined, guest: 'vm', wall: 'host', realtime: 'rt' } as const;

function rtcBase(clock: Clock, hostClock: HostClock | undefined): string {
  switch (clock.offset) {
    case 'localtime':
    case 'timezone':
      return 'localtime';
    case 'utc':
      return 'utc';
    case 'absolute':
      return formatUtc((clock.start ?? 0) * 1000);
    default:
      return variableBase(clock, hostClock);
  }
}

function variableBase({ adjustment, basis }: Clock, hostClock: HostClock | undefined): string {
  if (hostClock === undefined)
    return refuse("<clock offset='variable'> starts from the host's time, which was not given");
  const offset = basis === 'localtime' ? hostClock.utcOffsetSeconds : 0;
  return formatUtc(hostClock.nowMs + ((typeof adjustment === 'number' ? adjustment : 0) + offset) * 1000);
}

/** `2026-01-31T12:00:00`, which QEMU reads as UTC. */
function formatUtc(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 19);
}

function planTimer(timer: Timer, { caps, domain }: PlanContext): Part[] {
  if (timer.name === 'pit' && hasProperty(caps, 'kvm-pit', 'lost_tick_policy')) {
    // The kernel's own default would be to catch up.
    const policy = timer.tickpolicy ?? 'delay';
    if (policy === 'delay' || policy === 'discard') {
      return [{ kind: 'option', option: 'global', value: `kvm-pit.lost_tick_policy=${policy}` }];
    }
  }
  // A QEMU whose boards have the property is told in -machine.
  const isMachineProperty = hasProperty(caps, 'generic-pc-machine', 'hpet');
  if (timer.name === 'hpet' && timer.present === false && isX86(domain) && !isMachineProperty) {
    return [{ kind: 'option', option: 'no-hpet' }];
  }
  return [];
}

/** 9999-12-31T23:59:59, the last second that the format of QEMU's -rtc can say. */
const LAST_START = 253_402_300_799;

/** UTC where nothing is said; an adjustment in seconds makes the clock a variable one. */
export function fillClockDefaults({ domain }: DomainContext): void {
  domain.clock ??= { offset: 'utc', timers: [] };
  const { clock } = domain;
  if ((clock.offset === 'utc' || clock.offset === 'localtime') && typeof clock.adjustment === 'number') {
    clock.basis = clock.offset;
    clock.offset = 'variable';
  }
  if (clock.offset === 'variable') {
    clock.adjustment ??= 0;
    clock.basis ??= 'utc';
  }
}

/** What QEMU's clocks and timers cannot do. */
export function validateClock(context: DomainContext): void {
  const { clock } = context.domain;
  if (clock === undefined) return;
  if (clock.offset === 'timezone' && (clock.timezone ?? '') === '') {
    fault(context, clock, "offset='timezone' needs a timezone such as 'Europe/Paris'", '@timezone');
  }
  if (clock.offset === 'absolute' && clock.start === undefined) {
    fault(context, clock, "offset='absolute' needs start, in seconds since 1970", '@start');
  }
  if ((clock.start ?? 0) > LAST_START)
    fault(context, clock, `start must be ${LAST_START} (the year 9999) or less`, '@start');
  if (clock.offset === 'variable' && typeof clock.adjustment === 'string') {
    fault(context, clock, "offset='variable' needs an adjustment in seconds", '@adjustment');
  }
  for (const timer of clock.timers) {
    const problem = timerProblem(timer, context) ?? surplusProblem(timer);
    if (problem !== undefined) fault(context, timer, problem);
  }
}

/** Attributes that only some timers have. */
function surplusProblem({ name, track, frequency, mode, tickpolicy, catchup }: Timer): string | undefined {
  if (tickpolicy !== undefined && (name === 'kvmclock' || name === 'hypervclock')) {
    return `timer '${name}' has no tickpolicy: remove it`;
  }
  if (catchup !== undefined && tickpolicy !== 'catchup') return "<catchup> goes with tickpolicy='catchup' only";
  if (track !== undefined && name !== 'rtc') return `timer '${name}' has no track: remove it`;
  if (name === 'tsc') return undefined;
  return frequency === undefined && mode === undefined ? undefined : `frequency and mode are for the timer 'tsc' only`;
}

function timerProblem(timer: Timer, { caps, domain }: DomainContext): string | undefined {
  const { name, tickpolicy, track, present } = timer;
  const notHere = `timer '${name}' does not exist on ${archOf(domain)} with type='${domain.type ?? ''}': remove it`;
  switch (name) {
    case 'platform':
      return "QEMU has no timer 'platform': remove it";
    case 'tsc':
    case 'kvmclock':
    case 'hypervclock':
      return !isX86(domain) && present === true ? notHere : undefined;
    case 'rtc':
      if (track === 'boot') return "track='boot' is not something QEMU can do: use guest, wall or realtime";
      if (tickpolicy === 'merge' || tickpolicy === 'discard') return `the RTC has no tickpolicy '${tickpolicy}'`;
      return undefined;
    case 'pit':
      if (tickpolicy === 'merge') return "the PIT has no tickpolicy 'merge'";
      if (tickpolicy === 'discard' && !hasProperty(caps, 'kvm-pit', 'lost_tick_policy')) {
        return "this QEMU's PIT has no tickpolicy 'discard'";
      }
      return undefined;
    case 'hpet':
      return !isX86(domain) && present === true ? notHere : undefined;
    default:
      if (!isArm(domain) || domain.type !== 'kvm') return notHere;
      return tickpolicy === 'catchup' || tickpolicy === 'merge'
        ? `timer 'armvtimer' has no tickpolicy '${tickpolicy}': use delay or discard`
        : undefined;
  }
}
