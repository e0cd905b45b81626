/**
 * Scopes of guests, named as libvirt's: made through machined where it is (`machinectl` then lists the guest), else by systemd itself; their
 * group found; ended. Limits are `unit-properties.ts`'s, what is in the group the caller's.
 */
import { raceSignal, withTimeout } from '../../core/abort.ts';
import { LogSource } from '../../core/log-source.ts';
import { type GuestDriver, scopeName } from '../layout.ts';
import { type DbusValue, variant } from './dbus-value.ts';
import { MACHINED, type Systemd, type UnitProperty } from './systemd.ts';
import { DBUS_ERROR, SystemdError } from './systemd-error.ts';

const log = new LogSource('util.systemd');
/** machined's own default for what it makes. */
const TASKS_MAX = 16_384n;
/** So that guests end before what a host's shutdown stops after them, as libvirt's do. */
const BEFORE = ['virt-guest-shutdown.target'];
const MACHINE_GONE_MS = 10_000;

export interface ScopeRequest {
  /** `qemu-1-web`: see `machineName`. */
  readonly machine: string;
  readonly driver: GuestDriver;
  readonly uuid?: string | undefined;
  /** Of the process that moves in. */
  readonly pid: number;
  /** A container's. */
  readonly rootDirectory?: string | undefined;
  /** `machine.slice`. */
  readonly slice: string;
  /** Host ends of its network devices, by index. */
  readonly interfaces?: readonly number[] | undefined;
  /** Limits from the beginning. */
  readonly properties?: readonly UnitProperty[] | undefined;
}

/** A scope by its names; `machine` is missing where machined does not know it. */
export interface ScopeNames {
  readonly unit: string;
  readonly machine?: string | undefined;
}

export interface Scope extends ScopeNames {
  /** Its group below systemd's root: `/machine.slice/machine-qemu\x2d1\x2dweb.scope`. */
  readonly controlGroup: string;
}

/**
 * Makes the scope and moves the process in.
 * @throws SystemdError; there may be a scope then if it is `controlGroup` that cannot be read
 */
export async function createScope(systemd: Systemd, request: ScopeRequest, signal?: AbortSignal): Promise<Scope> {
  const names = await startScope(systemd, request, signal);
  log.debug('createScope', () => `${names.unit} in ${request.slice} for pid ${request.pid}`);
  return { ...names, controlGroup: await readControlGroup(systemd, names.unit, signal) };
}

async function startScope(systemd: Systemd, request: ScopeRequest, signal?: AbortSignal): Promise<ScopeNames> {
  if (await systemd.hasMachined(signal)) {
    try {
      return await registerMachine(systemd, request, signal);
    } catch (error) {
      // Listed for activation, but masked or not installed after all.
      if (!(error instanceof SystemdError && isAbsent(error.errorName))) throw error;
      log.info('createScope', () => `machined is not there: ${error.message}`);
    }
  }
  const unit = scopeName(request.machine);
  await systemd.runJob(
    'StartTransientUnit',
    {
      operation: 'create scope',
      unit,
      signature: 'ssa(sv)a(sa(sv))',
      body: [unit, 'fail', toPairs(ownProperties(request)), []],
    },
    signal,
  );
  return { unit };
}

function isAbsent(errorName: string): boolean {
  return (
    errorName === DBUS_ERROR.serviceUnknown ||
    errorName === DBUS_ERROR.noOwner ||
    errorName === DBUS_ERROR.noSuchUnit ||
    errorName.startsWith('org.freedesktop.DBus.Error.Spawn.') ||
    errorName === 'org.freedesktop.systemd1.UnitMasked'
  );
}

/** machined answers when the scope is there. */
async function registerMachine(systemd: Systemd, request: ScopeRequest, signal?: AbortSignal): Promise<ScopeNames> {
  const { machine, driver, uuid, pid, rootDirectory = '', interfaces = [] } = request;
  const about = { operation: 'create scope', unit: scopeName(machine) };
  const head = [
    machine,
    Buffer.from((uuid ?? '').replaceAll('-', ''), 'hex'),
    `libvirt-${driver}`,
    driver === 'lxc' ? 'container' : 'vm',
    pid,
    rootDirectory,
  ];
  const properties = toPairs(commonProperties(request));
  const create = async (member: string, signature: string, body: readonly DbusValue[]): Promise<string> => {
    const [path] = await systemd.call({ ...MACHINED, member, signature, body }, about, signal);
    return path as string;
  };
  let path: string;
  try {
    const body = [...head, [...interfaces], properties];
    path = await create('CreateMachineWithNetwork', 'sayssusaia(sv)', body);
  } catch (error) {
    // Before systemd 209.
    if (!(error instanceof SystemdError && error.errorName === DBUS_ERROR.unknownMethod)) throw error;
    path = await create('CreateMachine', 'sayssusa(sv)', [...head, properties]);
  }
  const object = { destination: MACHINED.destination, path, interface: 'org.freedesktop.machine1.Machine' };
  const unit = await systemd.property(object, 'Unit', about, signal);
  return { unit: typeof unit === 'string' && unit !== '' ? unit : about.unit, machine };
}

function commonProperties({ slice, properties = [] }: ScopeRequest): UnitProperty[] {
  return [['Slice', variant('s', slice)], ['Before', variant('as', BEFORE)], ...properties];
}

/** With what machined adds by itself. */
function ownProperties(request: ScopeRequest): UnitProperty[] {
  const kind = request.driver === 'lxc' ? 'Container' : 'Virtual Machine';
  const common = commonProperties(request);
  const isLimited = common.some(([name]) => name === 'TasksMax');
  return [
    ['Description', variant('s', `${kind} ${request.machine}`)],
    ['PIDs', variant('au', [request.pid])],
    ['Delegate', variant('b', true)],
    // A scope whose process was killed would stay as `failed`.
    ['CollectMode', variant('s', 'inactive-or-failed')],
    ...(isLimited ? [] : [['TasksMax', variant('t', TASKS_MAX)] as const]),
    ...common,
  ];
}

function toPairs(properties: readonly UnitProperty[]): DbusValue[] {
  return properties.map(([name, value]): DbusValue => [name, value]);
}

/** A unit's group. @throws SystemdError when it is not loaded, or has none because it does not run */
export async function readControlGroup(systemd: Systemd, unit: string, signal?: AbortSignal): Promise<string> {
  const about = { operation: 'find the cgroup of', unit };
  const path = await systemd.unitPath(unit, signal);
  const kind = unit.endsWith('.slice') ? 'Slice' : 'Scope';
  const object = { path: path ?? '', interface: `org.freedesktop.systemd1.${kind}` };
  const group = path === undefined ? '' : await systemd.property(object, 'ControlGroup', about, signal);
  if (typeof group === 'string' && group !== '') return group;
  throw new SystemdError({ ...about, errorName: DBUS_ERROR.noSuchUnit, words: 'it does not run' });
}

/** Changes properties of a unit. `persistent`: they are there after a restart of the host too. @throws SystemdError */
export async function setUnitProperties(
  systemd: Systemd,
  unit: string,
  properties: readonly UnitProperty[],
  { persistent = false, signal }: { persistent?: boolean; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  if (properties.length === 0) return;
  log.debug('setUnitProperties', () => `${unit}: ${properties.map(([name]) => name).join(', ')}`);
  const body = [unit, !persistent, toPairs(properties)];
  await systemd.manage('SetUnitProperties', { operation: 'set limits of', unit, signature: 'sba(sv)', body }, signal);
}

/**
 * Ends a scope with all that is in it, and returns when neither systemd nor machined knows it any more. Idempotent.
 * @throws SystemdError
 */
export async function stopScope(systemd: Systemd, { unit, machine }: ScopeNames, signal?: AbortSignal): Promise<void> {
  log.debug('stopScope', () => unit);
  if (machine !== undefined) await terminateMachine(systemd, machine, signal);
  await stopUnit(systemd, unit, signal);
}

/** Stops a unit, whether it is there or not. @throws SystemdError */
export async function stopUnit(systemd: Systemd, unit: string, signal?: AbortSignal): Promise<void> {
  const about = { operation: 'stop', unit };
  await tolerate(
    [DBUS_ERROR.noSuchUnit],
    systemd.runJob('StopUnit', { ...about, signature: 'ss', body: [unit, 'replace'] }, signal),
  );
  // One that ended badly stays listed otherwise.
  await tolerate(
    [DBUS_ERROR.noSuchUnit],
    systemd.manage('ResetFailedUnit', { ...about, signature: 's', body: [unit] }, signal),
  );
}

async function terminateMachine(systemd: Systemd, machine: string, signal: AbortSignal | undefined): Promise<void> {
  if (!(await systemd.hasMachined(signal))) return;
  const about = { operation: 'terminate machine', unit: machine };
  let heard = (): void => undefined;
  const removed = new Promise<void>((resolve) => (heard = resolve));
  const rule = `type='signal',sender='${MACHINED.destination}',member='MachineRemoved'`;
  using _watching = await systemd.watch(
    rule,
    (message) => {
      if (message.member === 'MachineRemoved' && message.body[0] === machine) heard();
    },
    signal,
  );
  const ask = async (member: string): Promise<boolean> => {
    const call = { ...MACHINED, member, signature: 's', body: [machine] };
    return await tolerate(
      [DBUS_ERROR.noSuchMachine, DBUS_ERROR.serviceUnknown, DBUS_ERROR.noOwner],
      systemd.call(call, about, signal),
    );
  };
  if (!(await ask('TerminateMachine')) || !(await ask('GetMachine'))) return;
  using deadline = withTimeout(signal, MACHINE_GONE_MS);
  try {
    await raceSignal(removed, AbortSignal.any([deadline, systemd.closed]));
  } catch (cause) {
    signal?.throwIfAborted();
    const errorName = DBUS_ERROR.noReply;
    throw new SystemdError({
      ...about,
      errorName,
      words: 'machined still lists it',
      fix: `machinectl status ${machine}`,
      cause,
    });
  }
}

/** @returns whether the call succeeded; these errors mean that it is not there any more */
async function tolerate(errorNames: readonly string[], call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof SystemdError && errorNames.includes(error.errorName)) return false;
    throw error;
  }
}

/** Whether systemd knows the unit. @throws SystemdError */
export async function isLoaded(systemd: Systemd, unit: string, signal?: AbortSignal): Promise<boolean> {
  const path = await systemd.unitPath(unit, signal);
  if (path === undefined) return false;
  const object = { path, interface: 'org.freedesktop.systemd1.Unit' };
  const state = await systemd.property(object, 'ActiveState', { operation: 'look at', unit }, signal);
  return state !== 'inactive';
}
