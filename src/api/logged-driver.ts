/**
 * A driver whose every call is on the log, under the source `libvirt`, as libvirt logs its public API. It changes nothing else; with nobody
 * listening a call costs one comparison more.
 */
import { LogSource } from '../core/log-source.ts';
import type { Driver } from '../driver/driver.ts';
import { OPERATION_GROUPS } from './need.ts';

const log = new LogSource('libvirt');
/** Calls whose arguments are secrets. */
const SECRET = new Set([
  'secrets.setValue',
  'agentCommand',
  'interaction.agentText',
  'interaction.setUserPassword',
  'exec.exec',
]);
const GROUPS: ReadonlySet<unknown> = new Set(OPERATION_GROUPS);

/** The same driver, logged. */
export function loggedDriver(driver: Driver): Driver {
  return loggedCalls(driver, driver.uri, '');
}

/** `prefix`: what the log calls the object before a method's name. */
function loggedCalls<T extends object>(object: T, uri: string, prefix: string): T {
  const wrapped = new Map<string | symbol, unknown>();
  return new Proxy(object, {
    get: (target, name) => {
      const found = wrapped.get(name);
      if (found !== undefined) return found;
      const value: unknown = Reflect.get(target, name);
      const logged = wrap(target, name, value);
      if (logged !== value) wrapped.set(name, logged);
      return logged;
    },
  });

  function wrap(target: T, name: string | symbol, value: unknown): unknown {
    if (prefix === '' && typeof value === 'object' && value !== null && GROUPS.has(name))
      return loggedCalls(value, uri, `${String(name)}.`);
    if (typeof value !== 'function') return value;
    const call = prefix + String(name);
    return (...args: unknown[]): unknown => {
      if (log.enabled) log.debug(String(name), () => `conn=${uri} ${describe(call, args)}`);
      return Reflect.apply(value, target, args);
    };
  }
}

/** Definitions may hold passwords, so only their length is told. */
function describe(name: string, args: readonly unknown[]): string {
  if (SECRET.has(name)) return `${String(args[0])} (arguments are not logged)`;
  return args.map(describeOne).join(' ');
}

function describeOne(value: unknown): string {
  if (typeof value === 'string')
    return value.trimStart().startsWith('<') ? `<XML of ${value.length} characters>` : value;
  if (value instanceof AbortSignal) return 'signal';
  if (typeof value !== 'object' || value === null) return String(value);
  return JSON.stringify(value, (key, member: unknown) =>
    key === 'signal' ? undefined : typeof member === 'bigint' ? String(member) : member,
  );
}
