/**
 * Asks a QEMU binary for its capabilities: one process without a machine, one pipelined batch over an inherited
 * socketpair. It keeps nothing: see `cache.ts`. What is asked is in `replies.ts`, what becomes of it in `from-replies.ts`.
 */
import { basename } from 'node:path';
import { isTimeout, raceSignal, withTimeout } from '../../../core/abort.ts';
import { hostArch } from '../../../host/cpu.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { QmpClient } from '../../../qmp/client.ts';
import { QmpConnectionError, QmpError } from '../../../qmp/errors.ts';
import type { JsonValue } from '../../../qmp/json.ts';
import type { AcceleratorName, QemuCapabilities } from './capabilities.ts';
import { addAccelerator, capabilitiesFromReplies } from './from-replies.ts';
import { acceleratorCommands, mainCommands, type ProbeCommand, type ProbeReply, ReplyBook } from './replies.ts';

export interface ProbeOptions {
  /** Path of the binary. */
  readonly qemu: string;
  /** What the process runs with; CPU models depend on it. */
  readonly accelerator: AcceleratorName;
  readonly signal?: AbortSignal | undefined;
  /** After which the binary is given up, in milliseconds; default 30,000. */
  readonly timeoutMs?: number;
}

/** QEMU did not live to answer. */
export class CapabilitiesProbeError extends Error {
  override readonly name = 'CapabilitiesProbeError';
  readonly qemu: string;
  readonly stderr: string;

  constructor(qemu: string, what: string, init: { stderr: string; cause?: unknown }) {
    const words = init.stderr.trim().split('\n').slice(-1)[0];
    super(`probing ${qemu}: ${what}${words ? `: ${words}` : ''}; try '${qemu} --version'`, { cause: init.cause });
    this.qemu = qemu;
    this.stderr = init.stderr;
  }
}

const DEFAULT_TIMEOUT_MS = 30_000;
const MONITOR_FD = 3;

/**
 * Everything about the binary, with the CPU models of one accelerator.
 * @throws ProcessError, CapabilitiesProbeError, CapabilitiesReplyError, or the signal's reason
 */
export async function probeCapabilities(options: ProbeOptions): Promise<QemuCapabilities> {
  const { qemu, accelerator } = options;
  const ask = (arch: string) => [...mainCommands(arch), ...acceleratorCommands(arch, accelerator)];
  const capabilities = capabilitiesFromReplies(qemu, await askQemu(options, ask, guessArch(qemu)));
  if (capabilities.accelerators[accelerator] !== undefined) return capabilities;
  throw new CapabilitiesProbeError(qemu, `asked for ${accelerator}, QEMU runs without it`, { stderr: '' });
}

/** The same with the CPU models of a further accelerator, for which a second process is needed. @throws as above */
export async function probeAccelerator(known: QemuCapabilities, options: ProbeOptions): Promise<QemuCapabilities> {
  const ask = (arch: string) => acceleratorCommands(arch, options.accelerator);
  return addAccelerator(known, options.accelerator, await askQemu(options, ask, known.arch));
}

/** The batch must know the target before QEMU can tell it: from the usual names, else the host's own. */
function guessArch(qemu: string): string {
  return /^qemu-system-([a-z0-9_]+)/.exec(basename(qemu))?.[1] ?? hostArch();
}

type Questions = (arch: string) => readonly ProbeCommand[];

async function askQemu(options: ProbeOptions, questions: Questions, arch: string): Promise<ProbeReply[]> {
  const { qemu, accelerator, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  await using child = await spawnChild(
    {
      command: qemu,
      args: probeArgs(accelerator),
      stdio: ['ignore', 'ignore', 'tail', 'pipe'],
      dieWithParent: true,
    },
    { signal: options.signal },
  );
  // From here on: until now nothing of the binary's own could have taken long.
  using deadline = withTimeout(options.signal, timeoutMs);
  try {
    await using client = new QmpClient(child.duplex(MONITOR_FD), { negotiation: 'eager' });
    const replies = await runBatch(client, questions(arch), deadline);
    const target = targetOf(replies);
    // A binary under another name than its target: only what depends on the target is asked again.
    if (target !== undefined && target !== arch) {
      const asked = new Set(questions(arch).map(textOf));
      const missing = questions(target).filter((command) => !asked.has(textOf(command)));
      replies.push(...(await runBatch(client, missing, deadline)));
    }
    return replies;
  } catch (error) {
    throw await explain(error, options, child, deadline);
  } finally {
    // Nothing to save in a QEMU without a machine; asking it politely would cost another ten milliseconds.
    child.kill('SIGKILL');
  }
}

function probeArgs(accelerator: AcceleratorName): string[] {
  const machine = ['-S', '-no-user-config', '-nodefaults', '-display', 'none', '-machine', `none,accel=${accelerator}`];
  const monitor = ['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'];
  return [...machine, ...monitor];
}

async function runBatch(
  client: QmpClient,
  commands: readonly ProbeCommand[],
  signal: AbortSignal,
): Promise<ProbeReply[]> {
  const items = commands.map(({ execute, arguments: args }) => ({ command: execute, ...(args && { args }) }));
  // The signal ends the wait for the batch; given to each command, it would carry dozens of listeners.
  const results: readonly PromiseSettledResult<unknown>[] = await raceSignal(client.executeBatch(items), signal);
  return commands.map((command, index) => {
    const result = results[index];
    if (result?.status === 'fulfilled') return { ...command, result: { value: result.value as JsonValue } };
    const reason: unknown = result?.reason;
    // A refusal is an answer; everything else is the end of the conversation.
    if (reason instanceof QmpError)
      return { ...command, result: { error: { class: reason.class, desc: reason.desc } } };
    throw reason;
  });
}

function targetOf(replies: readonly ProbeReply[]): string | undefined {
  const target = new ReplyBook(replies).value('query-target');
  return typeof target === 'object' && target !== null && 'arch' in target && typeof target['arch'] === 'string'
    ? target['arch']
    : undefined;
}

function textOf(command: ProbeCommand): string {
  return JSON.stringify([command.execute, command.arguments]);
}

/** Why the conversation ended: QEMU's own last words where there are any. */
async function explain(
  error: unknown,
  { qemu, signal, timeoutMs = DEFAULT_TIMEOUT_MS }: ProbeOptions,
  child: ChildHandle,
  deadline: AbortSignal,
): Promise<unknown> {
  signal?.throwIfAborted();
  const timedOut = deadline.aborted && isTimeout(deadline.reason);
  if (!timedOut && !(error instanceof QmpConnectionError)) return error;
  child.kill('SIGKILL');
  const { exitCode, signal: killedBy, stderrTail } = await child.exited;
  if (timedOut)
    return new CapabilitiesProbeError(qemu, `no answer within ${timeoutMs} ms`, { stderr: stderrTail, cause: error });
  const how = exitCode === undefined ? `QEMU was ended by ${killedBy}` : `QEMU exited with status ${exitCode}`;
  return new CapabilitiesProbeError(qemu, how, { stderr: stderrTail, cause: error });
}
