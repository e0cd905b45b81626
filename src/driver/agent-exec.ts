/**
 * Programs in a virtual machine, through its guest agent: for drivers that reach an agent, here or over the wire. The agent knows neither
 * users nor folders, so that the guest's own `runuser` and `sh` stand in; and it tells nobody when a program ends.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { Waiting } from './driver.ts';
import type { ExecOperations, ExecOptions, ExecResult } from './exec-operations.ts';

/** One command of a guest's agent. */
export type AskAgent = (
  uuid: string,
  command: string,
  args: Readonly<Record<string, unknown>>,
  options: Waiting,
) => Promise<unknown>;

const FIRST_POLL_MS = 10;
const LAST_POLL_MS = 500;
const NO_BYTES = Buffer.alloc(0);

export class AgentExec implements ExecOperations {
  readonly #ask: AskAgent;

  constructor(ask: AskAgent) {
    this.#ask = ask;
  }

  async exec(uuid: string, command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { signal, stdio = 'capture', terminal = false } = options;
    if (terminal) throw unsupported('a guest agent has no terminals: leave out the terminal, or use the console');
    const input = stdio === 'inherit' ? await readOwnInput() : options.input;
    const request = { ...agentCommand(command, options), ...inputOf(input), 'capture-output': true };
    const pid = Reflect.get(objectOf(await this.#ask(uuid, 'guest-exec', request, { signal })), 'pid');
    const result = await this.#untilExited(uuid, pid, signal);
    if (stdio !== 'inherit') return result;
    await Promise.all([print(process.stdout, result.stdout), print(process.stderr, result.stderr)]);
    return { status: result.status, stdout: NO_BYTES, stderr: NO_BYTES };
  }

  async sendSignal(): Promise<never> {
    throw unsupportedCall('virDomainSendProcessSignal');
  }

  async openNamespaces(): Promise<never> {
    throw unsupportedCall('virDomainLxcOpenNamespace');
  }

  async #untilExited(uuid: string, pid: unknown, signal: AbortSignal | undefined): Promise<ExecResult> {
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * 2, LAST_POLL_MS)) {
      const status = objectOf(await this.#ask(uuid, 'guest-exec-status', { pid }, { signal }));
      if (Reflect.get(status, 'exited') === true) return readStatus(status);
      await pause(pauseMs);
      signal?.throwIfAborted();
    }
  }
}

/** `guest-exec` arguments of a program. Words are passed on as they are: no shell reads them. */
export function agentCommand(
  command: readonly string[],
  { user, cwd, env = [] }: Pick<ExecOptions, 'user' | 'cwd' | 'env'>,
): { readonly path: string; readonly arg: readonly string[] } {
  const [path = '', ...arg] = [
    ...(user === undefined ? [] : ['runuser', '-u', user, '--']),
    ...(cwd === undefined ? [] : ['sh', '-c', 'cd -- "$0" && exec "$@"', cwd]),
    ...(env.length === 0 ? [] : ['env', ...env]),
    ...command,
  ];
  return { path, arg };
}

function inputOf(input: Uint8Array | undefined): { readonly 'input-data'?: string } {
  return input === undefined || input.length === 0 ? {} : { 'input-data': Buffer.from(input).toString('base64') };
}

/** A terminal has no end to wait for. */
async function readOwnInput(): Promise<Buffer> {
  if (process.stdin.isTTY) return NO_BYTES;
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function print(stream: NodeJS.WriteStream, bytes: Buffer): Promise<void> {
  if (bytes.length > 0) await new Promise<void>((resolve) => stream.write(bytes, () => resolve()));
}

function readStatus(status: object): ExecResult {
  const bytes = (name: string): Buffer => {
    const text: unknown = Reflect.get(status, name);
    return typeof text === 'string' ? Buffer.from(text, 'base64') : NO_BYTES;
  };
  const signal: unknown = Reflect.get(status, 'signal');
  const exitCode: unknown = Reflect.get(status, 'exitcode');
  return {
    status: typeof signal === 'number' ? 128 + signal : Number(exitCode ?? 0),
    stdout: bytes('out-data'),
    stderr: bytes('err-data'),
  };
}

function objectOf(answer: unknown): object {
  if (typeof answer === 'object' && answer !== null) return answer;
  throw new VirtError('the guest agent answers guest-exec with something else', {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.QEMU,
  });
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.ARGUMENT_UNSUPPORTED, domain: ErrorDomain.QEMU });
}

function unsupportedCall(api: string): VirtError {
  return new VirtError(`this function is not supported by the connection driver: ${api}`, {
    code: ErrorCode.NO_SUPPORT,
    domain: ErrorDomain.QEMU,
  });
}
