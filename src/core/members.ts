/** Members of values that nobody has checked: parsed JSON, replies of QEMU, the guest agent and ip(8). It looks, and validates nothing. */

/** What is found on the path of names, or undefined as soon as one leads nowhere. */
export function memberOf(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (found, name) => (typeof found === 'object' && found !== null ? Reflect.get(found, name) : undefined),
    value,
  );
}

/** A member that is text; empty where there is none. */
export function textIn(value: unknown, name: string): string {
  const found = memberOf(value, name);
  return typeof found === 'string' ? found : '';
}

/** A member that is a number, without its fraction; 0 where there is none. */
export function integerIn(value: unknown, name: string): bigint {
  const found = memberOf(value, name);
  if (typeof found === 'bigint') return found;
  return typeof found === 'number' && Number.isFinite(found) ? BigInt(Math.trunc(found)) : 0n;
}
