/** Runs `ip` and `bridge` (iproute2) and says in one line why they failed. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { findProgram } from '../../process/find-program.ts';
import { runCommand } from '../../process/run-command.ts';

/** One of several commands failed; those before it were carried out. */
export class IpBatchError extends VirtError {
  /** Its position among them. */
  readonly line: number;

  constructor(message: string, line: number) {
    super(message, { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.NETWORK });
    this.line = line;
  }
}

/**
 * Carries out several commands in one process, up to the first that fails. `namespaceOf`: a process in the network namespace where that is done;
 * default: this one's.
 * @throws IpBatchError with its words
 */
export async function runIpBatch(
  lines: readonly string[],
  signal?: AbortSignal,
  { namespaceOf }: { namespaceOf?: number } = {},
): Promise<void> {
  if (lines.length === 0) return;
  const enter = namespaceOf === undefined ? [] : [`--net=/proc/${namespaceOf}/ns/net`, findProgram('ip')];
  const program = namespaceOf === undefined ? 'ip' : 'nsenter';
  await run(program, [...enter, '-batch', '-'], { input: `${lines.join('\n')}\n`, what: lines, signal });
}

/** What `ip -json …` prints. @throws VirtError */
export async function readIp(args: readonly string[], signal?: AbortSignal): Promise<unknown> {
  const text = await run('ip', ['-json', ...args], { what: [args.join(' ')], signal });
  return text.trim() === '' ? [] : JSON.parse(text);
}

/** Carries out `bridge` commands (ports, forwarding tables). @throws VirtError */
export async function runBridgeBatch(lines: readonly string[], signal?: AbortSignal): Promise<void> {
  if (lines.length === 0) return;
  await run('bridge', ['-batch', '-'], { input: `${lines.join('\n')}\n`, what: lines, signal });
}

async function run(
  program: string,
  args: readonly string[],
  { input, what, signal }: { input?: string; what: readonly string[]; signal: AbortSignal | undefined },
): Promise<string> {
  const output = await runCommand(findProgram(program), args, { signal, ...(input === undefined ? {} : { input }) });
  if (output.status === 0) return output.stdout;
  const words = output.stderr
    .trim()
    .split('\n')
    .filter((line) => !line.startsWith('Command failed'));
  const index = failedLine(output.stderr, what);
  const why = words[0] ?? output.error?.message ?? `status ${output.status}`;
  const fix = /not permitted/.test(why) ? "; run as root (CAP_NET_ADMIN), or use <interface type='user'/>" : '';
  throw new IpBatchError(`${program === 'nsenter' ? 'ip' : program} ${what[index] ?? ''}: ${why}${fix}`, index);
}

/** What the kernel refuses is told by its line; an argument that names nothing ends the program at once, without one. */
function failedLine(stderr: string, lines: readonly string[]): number {
  const told = /Command failed -:(\d+)/.exec(stderr)?.[1];
  if (told !== undefined) return Number(told) - 1;
  const argument = /argument "([^"]*)" is wrong/.exec(stderr)?.[1] ?? /Cannot find device "([^"]*)"/.exec(stderr)?.[1];
  return Math.max(
    0,
    lines.findIndex((line) => argument !== undefined && line.split(' ').includes(argument)),
  );
}
