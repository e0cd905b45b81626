/**
 * A driver whose every call is on the log, under the source `libvirt`, as libvirt logs its public API. It changes nothing else; with nobody
 * listening a call costs one comparison more.
 */
import { LogSource } from '../core/log-source.ts';
import type { Driver } from '../driver/driver.ts';

const log = new LogSource('libvirt');
/** Calls whose arguments are secrets. */
const SECRET = new Set(['setSecretValue', 'agentCommand']);

/** The same driver, logged. */
export function loggedDriver(driver: Driver): Driver {
  const wrapped = new Map<string | symbol, unknown>();
  return new Proxy(driver, {
    get: (target, name) => {
      const found = wrapped.get(name);
      if (found !== undefined) return found;
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const logged = (...args: unknown[]): unknown => {
        if (log.enabled) log.debug(String(name), () => `conn=${target.uri} ${describe(String(name), args)}`);
        return Reflect.apply(value, target, args);
      };
      wrapped.set(name, logged);
      return logged;
    },
  });
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
