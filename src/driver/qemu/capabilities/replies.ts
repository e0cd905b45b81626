/**
 * The questions put to a QEMU to learn its capabilities, and its answers, as data: what `probe.ts` sends, what
 * `tools/capabilities-from-replies.ts` reads from a recorded dialogue, what `from-replies.ts` digests. No I/O here.
 */
import type { JsonObject, JsonValue } from '../../../qmp/json.ts';
import type { AcceleratorName } from './capabilities.ts';
import { PROBED_DEVICES, PROBED_MACHINES, PROBED_OBJECTS } from './probed-types.ts';

/** One QMP command. */
export interface ProbeCommand {
  readonly execute: string;
  readonly arguments?: JsonObject;
}

/** One command with what came back: a value, or QEMU's refusal. */
export interface ProbeReply extends ProbeCommand {
  readonly result:
    | { readonly value: JsonValue }
    | { readonly error: { readonly class: string; readonly desc: string } };
}

/** A reply that is missing or has another shape than QMP documents. */
export class CapabilitiesReplyError extends Error {
  override readonly name = 'CapabilitiesReplyError';
  readonly command: string;

  constructor(command: string, problem: string) {
    super(
      `reading QEMU's capabilities: '${command}' ${problem}; this is no QEMU 5.2 or newer, or its replies are damaged`,
    );
    this.command = command;
  }
}

/** The commands of a first probe that need to be sent once for a binary, whatever the accelerator. */
export function mainCommands(arch: string | undefined): ProbeCommand[] {
  const machines: readonly string[] = Object.entries(PROBED_MACHINES).find(([name]) => name === arch)?.[1] ?? [];
  return [
    ...MAIN_COMMANDS.map((execute) => ({ execute })),
    ...PROBED_DEVICES.map((typename) => ({ execute: 'device-list-properties', arguments: { typename } })),
    ...[...PROBED_OBJECTS, ...machines].map((typename) => ({
      execute: 'qom-list-properties',
      arguments: { typename },
    })),
  ];
}

const MAIN_COMMANDS = [
  'query-version',
  'query-target',
  'query-kvm',
  'query-qmp-schema',
  'qom-list-types',
  'query-tpm-models',
  'query-tpm-types',
  'query-command-line-options',
  'query-migrate-capabilities',
  'query-sev-capabilities',
  'query-sgx-capabilities',
];

/** The commands whose answers depend on the accelerator of the process. */
export function acceleratorCommands(arch: string | undefined, accelerator: AcceleratorName): ProbeCommand[] {
  const name = accelerator === 'kvm' ? 'host' : 'max';
  const expansion = 'query-cpu-model-expansion';
  const commands: ProbeCommand[] = [{ execute: 'query-machines' }, { execute: 'query-cpu-definitions' }];
  if (arch === 'x86_64' || arch === 'i386') {
    commands.push(
      { execute: expansion, arguments: { type: 'static', model: { name } } },
      { execute: expansion, arguments: { type: 'static', model: { name, props: { migratable: false } } } },
    );
    // hv-passthrough turns on every enlightenment that this host's KVM offers.
    const props = { migratable: false, 'hv-passthrough': true };
    if (accelerator === 'kvm')
      commands.push({ execute: expansion, arguments: { type: 'full', model: { name, props } } });
  } else if (arch === 's390x') {
    commands.push({ execute: expansion, arguments: { type: 'static', model: { name } } });
  } else {
    commands.push({ execute: expansion, arguments: { type: 'full', model: { name } } });
  }
  return commands;
}

/** Answers looked up by command and arguments. */
export class ReplyBook {
  readonly #replies = new Map<string, ProbeReply>();

  constructor(replies: Iterable<ProbeReply>) {
    for (const reply of replies) {
      const key = keyOf(reply);
      if (!this.#replies.has(key)) this.#replies.set(key, reply);
    }
  }

  /** The value that came back; undefined when the command was refused or never sent. */
  value(execute: string, args?: JsonObject): JsonValue | undefined {
    const result = this.#replies.get(keyOf({ execute, ...(args && { arguments: args }) }))?.result;
    return result !== undefined && 'value' in result ? result.value : undefined;
  }

  /** The value that came back. @throws CapabilitiesReplyError when there is none. */
  required(execute: string): JsonValue {
    const result = this.#replies.get(keyOf({ execute }))?.result;
    if (result === undefined) throw new CapabilitiesReplyError(execute, 'was not answered');
    if ('error' in result) throw new CapabilitiesReplyError(execute, `was refused: ${result.error.desc}`);
    return result.value;
  }
}

/** Arguments are compared by content, whatever the order of their keys. */
function keyOf({ execute, arguments: args }: ProbeCommand): string {
  return args === undefined ? execute : `${execute} ${JSON.stringify(args, sortKeys)}`;
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
