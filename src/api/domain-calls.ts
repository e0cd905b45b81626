/**
 * The operations of a domain that a driver offers in groups, as methods of `Domain`: the same names and arguments, without the UUID.
 * Their documentation is that of the groups (`src/driver/*-operations.ts`).
 */
import type { DeviceOperations } from '../driver/device-operations.ts';
import type { Driver } from '../driver/driver.ts';
import type { ExecOperations } from '../driver/exec-operations.ts';
import type { InspectionOperations } from '../driver/inspection-operations.ts';
import type { InteractionOperations } from '../driver/interaction-operations.ts';
import type { SavingOperations } from '../driver/saving-operations.ts';
import type { TuningOperations } from '../driver/tuning-operations.ts';
import { toVirtError } from './errors.ts';
import { need, type OperationGroup } from './need.ts';

/** A group's operations of one domain. */
type OfDomain<T> = {
  [Name in keyof T]: T[Name] extends (uuid: string, ...rest: infer Rest) => infer Result
    ? (...rest: Rest) => Result
    : never;
};

type SavingOfDomain = Omit<SavingOperations, 'restore' | 'savedXml' | 'defineSaved'>;

/** Every operation of one domain that comes in a group. */
export interface DomainCalls
  extends OfDomain<DeviceOperations>,
    OfDomain<TuningOperations>,
    OfDomain<InspectionOperations>,
    OfDomain<InteractionOperations>,
    OfDomain<ExecOperations>,
    OfDomain<SavingOfDomain> {}

/** The group of each operation. One that is missing here does not compile. */
const GROUP_OF: Readonly<Record<keyof DomainCalls, OperationGroup>> = {
  ...inGroup('devices', {
    attachDevice: true,
    detachDevice: true,
    detachDeviceAlias: true,
    updateDevice: true,
    vcpuCount: true,
    setVcpus: true,
    setVcpu: true,
    setMemory: true,
    setMemoryStatsPeriod: true,
    iothreads: true,
    addIothread: true,
    removeIothread: true,
    setIothread: true,
    setLifecycleAction: true,
    metadata: true,
    setMetadata: true,
    blockResize: true,
  } satisfies Record<keyof DeviceOperations, true>),
  ...inGroup('tuning', {
    memoryParameters: true,
    setMemoryParameters: true,
    schedulerParameters: true,
    setSchedulerParameters: true,
    blkioParameters: true,
    setBlkioParameters: true,
    numaParameters: true,
    setNumaParameters: true,
    blockIoTune: true,
    setBlockIoTune: true,
    interfaceParameters: true,
    setInterfaceParameters: true,
    vcpuPins: true,
    pinVcpu: true,
    emulatorPin: true,
    pinEmulator: true,
    perfEvents: true,
    setPerfEvents: true,
    iothreadPins: true,
    pinIothread: true,
  } satisfies Record<keyof TuningOperations, true>),
  ...inGroup('inspection', {
    stats: true,
    vcpus: true,
    memoryStats: true,
    blockStats: true,
    blockInfo: true,
    interfaceStats: true,
    interfaceAddresses: true,
    cpuStats: true,
    diskErrors: true,
    messages: true,
    controlState: true,
    jobStats: true,
    abortJob: true,
    securityLabels: true,
    launchSecurity: true,
    measureDirtyRate: true,
    setBlockThreshold: true,
    blockPeek: true,
    memoryPeek: true,
  } satisfies Record<keyof InspectionOperations, true>),
  ...inGroup('interaction', {
    sendKey: true,
    injectNmi: true,
    screenshot: true,
    hostname: true,
    guestInfo: true,
    filesystems: true,
    guestVcpus: true,
    setGuestVcpus: true,
    time: true,
    setTime: true,
    freezeFilesystems: true,
    thawFilesystems: true,
    trimFilesystems: true,
    setUserPassword: true,
    authorizedSshKeys: true,
    setAuthorizedSshKeys: true,
    pmSuspend: true,
    pmWakeup: true,
    setAgentTimeout: true,
    monitorText: true,
    agentText: true,
  } satisfies Record<keyof InteractionOperations, true>),
  ...inGroup('exec', {
    exec: true,
    sendSignal: true,
    openNamespaces: true,
  } satisfies Record<keyof ExecOperations, true>),
  ...inGroup('saving', {
    save: true,
    managedSave: true,
    hasManagedSave: true,
    removeManagedSave: true,
    managedSaveXml: true,
    defineManagedSave: true,
    coreDump: true,
  } satisfies Record<keyof SavingOfDomain, true>),
};

function inGroup<N extends string>(group: OperationGroup, names: Record<N, true>): Record<N, OperationGroup> {
  return Object.fromEntries(Object.keys(names).map((name) => [name, group])) as Record<N, OperationGroup>;
}

/** Gives a class the methods of `DomainCalls`; `driverOf` and its `uuid` say whom to ask. */
export function addDomainCalls<D extends { readonly uuid: string }>(
  prototype: D,
  driverOf: (domain: D) => Driver,
): void {
  for (const [name, group] of Object.entries(GROUP_OF)) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      writable: true,
      value: async function (this: D, ...args: unknown[]): Promise<unknown> {
        return await calling(args, () => invoke(need(driverOf(this), group), name, [this.uuid, ...args]));
      },
    });
  }
}

/** A driver's group whose failures are `VirtError`s. @throws VirtError NO_SUPPORT where the driver lacks it */
export function group<G extends OperationGroup>(driver: Driver, name: G): NonNullable<Driver[G]> {
  return new Proxy(need(driver, name), {
    get: (target, method) => {
      if (typeof method !== 'string' || typeof Reflect.get(target, method) !== 'function')
        return Reflect.get(target, method);
      return (...args: unknown[]): unknown => {
        const result = invoke(target, method, args);
        // Iterations of events are no promises.
        return result instanceof Promise ? calling(args, () => result) : result;
      };
    },
  });
}

function invoke(target: object, name: string, args: readonly unknown[]): unknown {
  const method: unknown = Reflect.get(target, name);
  if (typeof method !== 'function') throw new TypeError(`there is no operation '${name}'`);
  return Reflect.apply(method, target, args);
}

/** Runs one public call; the signal is in its options, which are the last argument. */
async function calling(args: readonly unknown[], body: () => unknown): Promise<unknown> {
  try {
    return await body();
  } catch (error) {
    throw toVirtError(error, signalOf(args.at(-1)));
  }
}

function signalOf(options: unknown): AbortSignal | undefined {
  if (typeof options !== 'object' || options === null || !('signal' in options)) return undefined;
  return options.signal instanceof AbortSignal ? options.signal : undefined;
}
