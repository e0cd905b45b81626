/** `<vcpu>`, `<vcpus>`, `<iothreads>` and `<cputune>`: how many threads of which kind, and where they run on the host. */
import { attr, child, children, content, type Infer, required, struct } from '../schema/schema.ts';
import {
  cpuset,
  int,
  integer,
  oneOf,
  text,
  uint,
  ulong,
  type ValueCodec,
  ValueError,
  yesNo,
} from '../schema/values.ts';
import { scaledAttribute } from './scaled.ts';

export const vcpu = struct(() => ({
  placement: attr(oneOf('static', 'auto')),
  cpuset: attr(cpuset),
  current: attr(integer({ min: 1, max: 0xffff })),
  /** Highest number of virtual CPUs. */
  value: content(integer({ min: 1, max: 0xffff })),
}));
export interface Vcpu extends Infer<typeof vcpu> {}

const oneVcpu = struct(() => ({
  id: required(attr(uint)),
  enabled: required(attr(yesNo)),
  hotpluggable: attr(yesNo),
  order: attr(integer({ min: 1, max: 0xffff_ffff })),
}));
export const vcpus = struct(() => ({ vcpus: children(oneVcpu, 'vcpu') }));
export interface Vcpus extends Infer<typeof vcpus> {}

const threadPool = { threadPoolMin: attr(uint, 'thread_pool_min'), threadPoolMax: attr(uint, 'thread_pool_max') };
const poll = struct(() => ({ max: attr(ulong), grow: attr(ulong), shrink: attr(ulong) }));
const iothread = struct(() => ({
  id: required(attr(integer({ min: 1, max: 0xffff_ffff }))),
  ...threadPool,
  poll: child(poll),
}));
export const iothreadids = struct(() => ({ iothreads: children(iothread, 'iothread') }));
export interface Iothreadids extends Infer<typeof iothreadids> {}

/** The main loop's own thread pool. */
export const defaultIothread = struct(threadPool);
export interface DefaultIothread extends Infer<typeof defaultIothread> {}

/** The kernel's CFS bandwidth control has no use for less, in µs; 0 and negative numbers stand for no limit. */
const SHORTEST_US = 1000;
const period = bandwidth(integer({ max: 1_000_000 }));
const quota = bandwidth(integer({ min: -0x8000_0000, max: 17_592_186_044_415 }));
const schedulerFields = {
  scheduler: required(attr(oneOf('batch', 'idle', 'fifo', 'rr'))),
  priority: attr(int),
};
const cache = struct(() => ({
  id: required(attr(uint)),
  level: required(attr(uint)),
  type: required(attr(oneOf('both', 'code', 'data'))),
  size: required(attr(ulong)),
  unit: attr(text),
}));

export const cputune = struct(() => ({
  shares: child(ulong),
  period: child(period),
  quota: child(quota),
  globalPeriod: child(period, 'global_period'),
  globalQuota: child(quota, 'global_quota'),
  emulatorPeriod: child(period, 'emulator_period'),
  emulatorQuota: child(quota, 'emulator_quota'),
  iothreadPeriod: child(period, 'iothread_period'),
  iothreadQuota: child(quota, 'iothread_quota'),
  vcpupins: children(struct({ vcpu: required(attr(uint)), cpuset: required(attr(cpuset)) }), 'vcpupin'),
  emulatorpin: child(struct({ cpuset: required(attr(cpuset)) })),
  iothreadpins: children(struct({ iothread: required(attr(uint)), cpuset: required(attr(cpuset)) }), 'iothreadpin'),
  emulatorsched: child(struct(schedulerFields)),
  vcpuscheds: children(struct({ vcpus: required(attr(cpuset)), ...schedulerFields }), 'vcpusched'),
  iothreadscheds: children(struct({ iothreads: required(attr(cpuset)), ...schedulerFields }), 'iothreadsched'),
  cachetunes: children(
    struct({
      vcpus: required(attr(cpuset)),
      id: attr(text),
      caches: children(scaledAttribute(cache, { name: 'size', defaultUnit: 'bytes', keptUnit: 'KiB' }), 'cache'),
      monitors: children(struct({ level: required(attr(uint)), vcpus: required(attr(cpuset)) }), 'monitor'),
    }),
    'cachetune',
  ),
  memorytunes: children(
    struct({
      vcpus: required(attr(cpuset)),
      nodes: children(struct({ id: required(attr(uint)), bandwidth: required(attr(uint)) }), 'node'),
      monitors: children(struct({ vcpus: required(attr(cpuset)) }), 'monitor'),
    }),
    'memorytune',
  ),
}));
export interface Cputune extends Infer<typeof cputune> {}

/** A `<cputune>` that says nothing. */
export function emptyCputune(): Cputune {
  return {
    vcpupins: [],
    iothreadpins: [],
    vcpuscheds: [],
    iothreadscheds: [],
    cachetunes: [],
    memorytunes: [],
  };
}

function bandwidth(codec: ValueCodec<number>): ValueCodec<number> {
  return {
    ...codec,
    parse: (written) => {
      const value = codec.parse(written);
      if (value > 0 && value < SHORTEST_US) throw new ValueError(`is below ${SHORTEST_US} microseconds`);
      return value;
    },
  };
}
