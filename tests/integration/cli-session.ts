/**
 * The `nestling` command as a user runs it: a program of its own, with pipes or on a terminal. It bundles the source, so that no
 * build is needed. What the command is to do stands in the tests.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleScript } from '../support/bundle.ts';
import { domainXml } from '../support/domain-xml.ts';
import { type BootSector, bootSectorImage } from '../support/guests/boot-sectors.ts';
import { StreamText } from '../support/until.ts';

const ENTRY = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
let bundled: Promise<string> | undefined;

/** Bundled once for a test file. */
function command(): Promise<string> {
  bundled ??= bundleScript(ENTRY);
  return bundled;
}

export interface Ended {
  /** As a shell reports it: 128 + n for a signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. Killed at the end of its scope. */
export interface Session extends AsyncDisposable {
  readonly process: ChildProcessWithoutNullStreams;
  readonly stdout: StreamText;
  readonly stderr: StreamText;
  readonly ended: Promise<Ended>;
}

/** Starts `nestling ARGS`; its standard input stays open until `process.stdin.end()`. */
export async function startNestling(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Session> {
  return follow(
    spawn(process.execPath, [await command(), ...args], { env: { ...process.env, ...env }, stdio: 'pipe' }),
  );
}

/** Runs `nestling ARGS` to its end, with `input` on standard input. */
export async function nestling(
  args: readonly string[],
  { input = '', env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  await using session = await startNestling(args, env);
  session.process.stdin.end(input);
  return await session.ended;
}

/** Runs a shell script in which `nestling` is the command. */
export async function shell(script: string, { terminal = false }: { terminal?: boolean } = {}): Promise<Session> {
  const text = `nestling() { ${quote(process.execPath)} ${quote(await command())} "$@"; }\n${script}`;
  // util-linux's `script` gives the shell a terminal of its own and joins it to our pipes.
  const [program, args] = terminal
    ? (['script', ['-q', '-e', '-c', text, '/dev/null']] as const)
    : (['bash', ['-c', text]] as const);
  return follow(spawn(program, args, { env: { ...process.env, SHELL: '/bin/bash' }, stdio: 'pipe' }));
}

function follow(process: ChildProcessWithoutNullStreams): Session {
  const stdout = new StreamText(process.stdout);
  const stderr = new StreamText(process.stderr);
  // A program may end before it has read everything.
  process.stdin.on('error', () => undefined);
  const ended = once(process, 'close').then(() => ({
    status: process.exitCode ?? 128 + constants.signals[process.signalCode ?? 'SIGKILL'],
    stdout: stdout.text,
    stderr: stderr.text,
  }));
  return {
    process,
    stdout,
    stderr,
    ended,
    [Symbol.asyncDispose]: async () => {
      process.kill('SIGKILL');
      await ended;
    },
  };
}

export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Writes the XML of a boot-sector guest to `directory` and returns its path. */
export async function writeGuest(
  directory: string,
  kind: BootSector,
  overrides: Parameters<typeof domainXml>[0] = {},
): Promise<string> {
  const name = overrides.name ?? `cli-${kind}`;
  const path = join(directory, `${name}.xml`);
  const disks = [{ path: await bootSectorImage(kind), readonly: true }];
  writeFileSync(path, domainXml({ name, disks, ...overrides }));
  return path;
}
