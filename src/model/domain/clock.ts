/** `<clock>`: what the guest's clock starts with, and its timers. */
import { attr, child, children, type Infer, required, struct, withDefault } from '../schema/schema.ts';
import { integer, oneOf, text, uint, ulong, type ValueCodec, yesNo } from '../schema/values.ts';

const seconds = integer({ min: -Number.MAX_SAFE_INTEGER });
/** Seconds, or `reset`. */
const adjustment: ValueCodec<number | 'reset'> = {
  describe: 'seconds | reset',
  parse: (value) => (value === 'reset' ? 'reset' : seconds.parse(value)),
  format: String,
};

const timer = struct(() => ({
  name: required(attr(oneOf('platform', 'pit', 'rtc', 'hpet', 'tsc', 'kvmclock', 'hypervclock', 'armvtimer'))),
  present: attr(yesNo),
  tickpolicy: attr(oneOf('delay', 'catchup', 'merge', 'discard')),
  track: attr(oneOf('boot', 'guest', 'wall', 'realtime')),
  frequency: attr(ulong),
  mode: attr(oneOf('auto', 'native', 'emulate', 'paravirt', 'smpsafe')),
  catchup: child(struct({ threshold: attr(uint), slew: attr(uint), limit: attr(uint) })),
}));
export interface Timer extends Infer<typeof timer> {}

export const clock = struct(() => ({
  offset: withDefault(attr(oneOf('utc', 'localtime', 'variable', 'timezone', 'absolute')), 'utc'),
  adjustment: attr(adjustment),
  basis: attr(oneOf('utc', 'localtime')),
  timezone: attr(text),
  start: attr(ulong),
  timers: children(timer, 'timer'),
}));
export interface Clock extends Infer<typeof clock> {}
