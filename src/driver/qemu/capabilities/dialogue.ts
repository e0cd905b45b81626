/**
 * Reads a recorded QMP dialogue: JSON texts separated by empty lines, a command and its reply in turn. Each
 * `qmp_capabilities` begins the dialogue of a further process. Made for recordings; live replies come from `probe.ts`.
 */
import { isJsonObject, type JsonValue } from '../../../qmp/json.ts';
import type { AcceleratorName, QemuCapabilities, QemuMachine } from './capabilities.ts';
import { addAccelerator, capabilitiesFromReplies } from './from-replies.ts';
import type { ProbeReply } from './replies.ts';

/** A recording that does not follow the form above. */
export class DialogueError extends Error {
  override readonly name = 'DialogueError';
}

/** Capabilities from a recording: the first dialogue tells everything, later ones what TCG changes. @throws DialogueError */
export function capabilitiesFromDialogue(binary: string, text: string): QemuCapabilities {
  const [first, ...others] = parseDialogues(text);
  if (first === undefined) throw new DialogueError('reading a recorded QMP dialogue: it is empty');
  let capabilities = capabilitiesFromReplies(binary, first);
  for (const replies of others) {
    // A recording does not name the accelerator of its later dialogues; only KVM has a second one, and that is TCG.
    const accelerator: AcceleratorName = 'tcg';
    capabilities = addAccelerator(capabilities, accelerator, replies);
  }
  return capabilities;
}

/**
 * Machines under their aliases (`pc`, `q35`) in place of their own names, so that what is planned with a recording outlives
 * the version that was recorded, as libvirt's own expectations do.
 */
export function nameMachinesByAlias(capabilities: QemuCapabilities): QemuCapabilities {
  const rename = (machines: readonly QemuMachine[]): QemuMachine[] =>
    machines.map(({ alias, ...machine }) => ({ ...machine, name: alias ?? machine.name }));
  const accelerators = Object.entries(capabilities.accelerators).map(([name, accelerator]) => [
    name,
    accelerator.machines === undefined ? accelerator : { ...accelerator, machines: rename(accelerator.machines) },
  ]);
  const renamed = rename(capabilities.machines);
  return { ...capabilities, machines: renamed, accelerators: Object.fromEntries(accelerators) };
}

/** The dialogues in a recording, one for each process that was asked. @throws DialogueError */
export function parseDialogues(text: string): ProbeReply[][] {
  const messages = text.split(/\n\s*\n/).filter((part) => part.trim() !== '');
  if (messages.length % 2 !== 0)
    throw new DialogueError(
      `reading a recorded QMP dialogue: its last command (of ${messages.length} messages) has no reply`,
    );
  const dialogues: ProbeReply[][] = [];
  for (let i = 0; i < messages.length; i += 2) {
    const reply = toReply(parseMessage(messages[i], i), parseMessage(messages[i + 1], i + 1), i);
    if (reply.execute === 'qmp_capabilities') dialogues.push([]);
    else if (dialogues.at(-1)?.push(reply) === undefined)
      throw new DialogueError(
        `reading a recorded QMP dialogue: it begins with '${reply.execute}', not 'qmp_capabilities'`,
      );
  }
  return dialogues;
}

function parseMessage(text: string | undefined, index: number): JsonValue {
  try {
    return JSON.parse(text ?? '') as JsonValue;
  } catch (cause) {
    throw new DialogueError(`reading a recorded QMP dialogue: message ${index + 1} is not JSON`, { cause });
  }
}

function toReply(command: JsonValue, reply: JsonValue, index: number): ProbeReply {
  const execute = isJsonObject(command) ? command['execute'] : undefined;
  if (!isJsonObject(command) || typeof execute !== 'string' || !isJsonObject(reply))
    throw new DialogueError(`reading a recorded QMP dialogue: message ${index + 1} is no command`);
  const args = command['arguments'];
  const error = reply['error'];
  const common = { execute, ...(isJsonObject(args) && { arguments: args }) };
  if (isJsonObject(error))
    return { ...common, result: { error: { class: textOf(error['class']), desc: textOf(error['desc']) } } };
  return { ...common, result: { value: reply['return'] ?? {} } };
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
