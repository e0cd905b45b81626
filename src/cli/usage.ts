/** Command-line arguments: parsed by Node's own parser, with errors in one line. */
import { readFileSync } from 'node:fs';
import { getSystemErrorMap, type ParseArgsConfig, parseArgs } from 'node:util';

/** The command line is wrong; the message says how. Exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A file that the command line names cannot be read. Exit status 2 as well, but the options' help is of no use. */
export class InputError extends Error {
  override readonly name = 'InputError';
}

type OptionsConfig = NonNullable<ParseArgsConfig['options']>;

/** Options and positionals of a subcommand. @throws UsageError */
export function parseOptions<const O extends OptionsConfig>(
  args: string[],
  options: O,
): ReturnType<typeof parseArgs<{ args: string[]; options: O; allowPositionals: true }>> {
  try {
    return parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // Node explains at length how to pass a value that begins with a dash; the first sentence says what is wrong.
    throw new UsageError((error.message.split(/\. /)[0] ?? error.message).replace(/\.$/, ''));
  }
}

/** The one positional argument that a command takes. @throws UsageError */
export function onePositional(positionals: readonly string[], what: string): string {
  const [first, second] = positionals;
  if (first === undefined) throw new UsageError(`${what} is missing`);
  if (second !== undefined) throw new UsageError(`unexpected argument '${second}'`);
  return first;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `90`, `90s`, `500ms`, `5m`, `1h` as milliseconds; a bare number is seconds. @throws UsageError */
export function parseDurationMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const ms = match === null ? Number.NaN : Number(match[1]) * (UNIT_MS[match[2] ?? 's'] ?? Number.NaN);
  if (!(ms > 0 && ms < 2 ** 31)) throw new UsageError(`${option} takes a duration such as 30s or 5m, not '${text}'`);
  return ms;
}

/** One of several words. @throws UsageError */
export function parseChoice<const C extends string>(text: string, choices: readonly C[], option: string): C {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new UsageError(`${option} takes ${choices.join(', ')}, not '${text}'`);
  return found;
}

/** What to call an input in messages. */
export function displayName(path: string): string {
  return path === '-' ? '<stdin>' : path;
}

/** The text of a file, or of standard input for `-`. @throws InputError */
export async function readInput(path: string): Promise<string> {
  if (path !== '-') return readInputFile(path).toString('utf8');
  try {
    return readFileSync(0, 'utf8');
  } catch (error) {
    // Standard input that another program made non-blocking, with nothing to read yet.
    if (errnoCode(error) === 'EAGAIN') return await readAll(process.stdin);
    throw new InputError(`cannot read standard input: ${systemMessage(error)}`, { cause: error });
  }
}

/** The bytes of a file. @throws InputError */
export function readInputFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InputError(`cannot read ${path}: ${systemMessage(error)}`, { cause: error });
  }
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

/** A failed system call in the system's words, without Node's repetition of call and path. */
export function systemMessage(error: unknown): string {
  const errno = error instanceof Error && 'errno' in error ? Number(error.errno) : Number.NaN;
  return getSystemErrorMap().get(errno)?.[1] ?? (error instanceof Error ? error.message : String(error));
}

function errnoCode(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
