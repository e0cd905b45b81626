/** The qemu: namespace: the user's own words, environment, and properties changed on planned devices. */
import type { QemuOverrideProperty } from '../../../model/domain/qemu-namespace.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props, PropValue } from '../plan/props.ts';

/** `<qemu:arg>` and `<qemu:env>`. Plan it last: the user's options override ours. */
export function planQemuCommandline(context: PlanContext): Part[] {
  const { qemuCommandline } = context.domain;
  for (const { name, value } of qemuCommandline?.envs ?? []) context.environment[name] = value ?? '';
  return (qemuCommandline?.args ?? []).map(({ value }) => ({ kind: 'argument', text: value }));
}

/** Applies `<qemu:override>` to planned devices, told apart by their id. */
export function applyOverrides(parts: readonly Part[], { domain }: Pick<DomainContext, 'domain'>): Part[] {
  const overrides = new Map(
    (domain.qemuOverride?.devices ?? []).map(({ alias, frontend }) => [alias, frontend?.properties ?? []]),
  );
  if (overrides.size === 0) return [...parts];
  return parts.map((part) => {
    if (part.kind !== 'device' || typeof part.props['id'] !== 'string') return part;
    const changes = overrides.get(part.props['id']);
    return changes === undefined ? part : { kind: 'device', props: overrideProps(part.props, changes) };
  });
}

function overrideProps(props: Props, changes: readonly QemuOverrideProperty[]): Props {
  const result = new Map<string, PropValue | undefined>(Object.entries(props));
  for (const change of changes) {
    if (change.type === 'remove') result.delete(change.name);
    else result.set(change.name, valueOf(change));
  }
  return Object.fromEntries(result);
}

function valueOf({ type, value = '' }: QemuOverrideProperty): PropValue {
  if (type === 'bool') return value === 'true';
  if (type === 'string') return value;
  const number = parseNumber(value);
  const safe = number <= BigInt(Number.MAX_SAFE_INTEGER) && number >= BigInt(Number.MIN_SAFE_INTEGER);
  return safe ? Number(number) : number;
}

/** BigInt itself reads neither a plus sign nor negative hexadecimal numbers. */
function parseNumber(text: string): bigint {
  const size = BigInt(text.replace(/^[+-]/, ''));
  return text.startsWith('-') ? -size : size;
}

const INTEGER = /^[+-]?(?:0x[0-9a-fA-F]+|\d+)$/;

/** Names that a shell could set, and values of their type. */
export function validateQemuCommandline(context: DomainContext): void {
  const { qemuCommandline, qemuOverride } = context.domain;
  for (const env of qemuCommandline?.envs ?? []) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(env.name)) {
      fault(context, env, `'${env.name}' is no name of an environment variable`, '@name');
    }
  }
  for (const device of qemuOverride?.devices ?? []) {
    for (const property of device.frontend?.properties ?? []) {
      const problem = overrideProblem(property);
      if (problem !== undefined) fault(context, property, problem, '@value');
    }
  }
}

function overrideProblem({ name, type, value }: QemuOverrideProperty): string | undefined {
  if (type === 'remove') return value === undefined ? undefined : `property '${name}' is to be removed: drop its value`;
  if (value === undefined) return `property '${name}' needs a value`;
  if (type === 'bool' && value !== 'true' && value !== 'false') return `property '${name}' must be true or false`;
  if (type === 'signed' && !INTEGER.test(value)) return `property '${name}' must be a whole number`;
  if (type === 'unsigned' && (!INTEGER.test(value) || value.startsWith('-'))) {
    return `property '${name}' must be a whole, non-negative number`;
  }
  return undefined;
}
