/**
 * Runs a host's program in namespaces of its own: what it mounts and starts is gone with it, and it dies with us. With ids that are mapped
 * (all to themselves, or shifted) it is in a user namespace, which has a binfmt_misc of its own. What the program is, is not known here.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { LogSource } from '../core/log-source.ts';
import type { ChildHandle, ExitResult } from '../process/child-handle.ts';
import type { ChildStdio } from '../process/child-stdio.ts';
import { spawnChild } from '../process/spawn.ts';

const log = new LogSource('lxc.lxc_container');

/** So many ids from 0 on are those of the host from `base` on. */
export interface IdShift {
  readonly base: number;
  readonly count: number;
}

export interface IsolatedSpec {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Entered with our rights, before ids are mapped: the folders above need not be open to those. */
  readonly cwd?: string;
  /** fds 0, 1, 2. */
  readonly stdio: readonly [ChildStdio, ChildStdio, ChildStdio];
  /** No namespaces: the program makes its own, and this process may make none. */
  readonly plain?: boolean;
  /** A user namespace: `same` has all ids, each mapped to itself. */
  readonly ids?: 'same' | IdShift | undefined;
  /** Lines for binfmt_misc of that user namespace. */
  readonly binfmt?: readonly string[];
  /**
   * A shell script, and its arguments, that mounts as this process's root what the user namespace may not; pid and mount namespaces are there
   * already, and a name of the host that it may change. Without it the pid namespace belongs to the user namespace, which may then mount a /proc of its own.
   */
  readonly prepare?: { readonly script: string; readonly args: readonly string[] };
}

/** Host programs only, whatever PATH the program will have. */
export const TOOLS_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What fails before the program is there ends with the status that `env` and `timeout` have for that; exec passes the trap by. */
const FAIL = "set -e; trap 'exit 125' EXIT";

/** $1: its number of arguments, $2…: script and arguments of the preparation, then the rest. Errors are the shell's and mount's own words. */
const OUTER = [
  FAIL,
  'given_path=$PATH',
  TOOLS_PATH,
  'mount --make-rprivate /',
  'script=$1; count=$2; shift 2',
  // A function gets the script's arguments, and what follows them stays.
  'prepare() { eval "$script"; }',
  'prepare "$@"',
  'while [ "$count" -gt 0 ]; do shift; count=$((count - 1)); done',
  // As the host names it: this /proc is still the host's.
  'read -r pid rest </proc/self/stat',
  'export pid given_path',
  'exec "$@"',
].join('\n');

/**
 * The first thing in a user namespace: waits on fd 3 for its ids. Before that this process is nobody there. $1 `shift`: those of the host are
 * none of its, so that it becomes root by its capabilities.
 */
const MAP = [
  FAIL,
  // As the host names it: this /proc is still the host's.
  '[ -n "${pid:-}" ] || read -r pid rest </proc/self/stat',
  'echo "map $pid" >&3; read -r go <&3',
  'how=$1; shift',
  'if [ "$how" = shift ]; then exec setpriv --reuid=0 --regid=0 --clear-groups -- "$@"; fi',
  'exec "$@"',
].join('\n');

/** Registers emulators, and hands over. $1: how many lines, $2…: lines, then the program. */
const INNER = [
  FAIL,
  'path=${given_path:-$PATH}; unset given_path pid',
  TOOLS_PATH,
  'mount --make-rprivate /',
  'count=$1; shift',
  'if [ "$count" -gt 0 ]; then',
  '  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc',
  '  while [ "$count" -gt 0 ]; do printf "%s" "$1" >/proc/sys/fs/binfmt_misc/register; count=$((count - 1)); shift; done',
  'fi',
  'PATH=$path',
  'exec "$@" 3>&-',
].join('\n');

/** The whole command line behind `unshare`. Pure. */
export function isolationArgs({ ids, binfmt = [], prepare, command, args }: IsolatedSpec): string[] {
  const fork = ['--fork', '--kill-child=KILL'];
  const inner = ['sh', '-c', INNER, 'nestling-isolate', String(binfmt.length), ...binfmt, command, ...args];
  // Capabilities are kept until root is root there.
  const user = ids === undefined ? [] : ['--user', ...(ids === 'same' ? [] : ['--keep-caps'])];
  const mapped =
    ids === undefined ? inner : ['sh', '-c', MAP, 'nestling-isolate', ids === 'same' ? 'same' : 'shift', ...inner];
  if (prepare === undefined) return ['--mount', '--pid', ...user, ...fork, ...mapped];
  const { script, args: words } = prepare;
  return [
    '--mount',
    '--uts',
    '--pid',
    ...fork,
    'sh',
    '-c',
    OUTER,
    'nestling-isolate',
    script,
    String(words.length),
    ...words,
    ...(ids === undefined ? [] : ['unshare', '--mount', ...user]),
    ...mapped,
  ];
}

/** Starts it. Namespaces: mount, pid, and user when ids are mapped. @throws ProcessError */
export async function spawnIsolated(
  spec: IsolatedSpec,
  options: { signal?: AbortSignal | undefined; lifetime?: AbortSignal | undefined } = {},
): Promise<ChildHandle> {
  const child = await spawnChild(
    {
      ...(spec.plain === true
        ? { command: spec.command, args: spec.args }
        : { command: 'unshare', args: isolationArgs(spec) }),
      ...(spec.env !== undefined && { env: spec.env }),
      ...(spec.cwd !== undefined && { cwd: spec.cwd }),
      stdio: [...spec.stdio, 'pipe'],
      dieWithParent: true,
    },
    options,
  );
  const control = child.duplex(3);
  // Its end tells as much as an error would.
  control.on('error', () => undefined);
  control.setEncoding('utf8');
  control.on('data', (text: string) => {
    const named = /map (\d+)/.exec(text)?.[1];
    if (named === undefined || spec.ids === undefined) return;
    try {
      mapIds(Number(named), spec.ids);
      control.write('go\n');
    } catch (error) {
      log.error('spawnIsolated', () => `cannot map ids: ${error instanceof Error ? error.message : String(error)}`);
      // Without the word it ends by itself.
      control.destroy();
    }
  });
  return child;
}

/** Runs it to its end. */
export async function runIsolated(
  spec: Omit<IsolatedSpec, 'stdio'> & { stdio?: IsolatedSpec['stdio'] },
  options: {
    signal?: AbortSignal | undefined;
    lifetime?: AbortSignal | undefined;
    onLine?: (line: string) => void;
  } = {},
): Promise<ExitResult & { readonly words: string }> {
  const { onLine, signal } = options;
  await using child = await spawnIsolated(
    { ...spec, stdio: spec.stdio ?? ['ignore', 'pipe', 'pipe'] },
    { signal, lifetime: signal },
  );
  const tail: string[] = [];
  const say = (line: string): void => {
    if (line.trim() === '') return;
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    onLine?.(line);
  };
  const stdio = spec.stdio ?? (['ignore', 'pipe', 'pipe'] as const);
  const streams = ([1, 2] as const)
    .filter((fd) => stdio[fd] === 'pipe')
    .map((fd) => followLines(child.readable(fd), say));
  const result = await child.exited;
  // Nothing in those namespaces outlives it, so that the streams end too.
  await Promise.all(streams);
  signal?.throwIfAborted();
  return { ...result, words: tail.join('\n') };
}

async function followLines(stream: Readable, say: (line: string) => void): Promise<void> {
  let rest = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream) {
    // Progress bars go back to the line's beginning.
    const lines = `${rest}${chunk}`.split(/[\r\n]+/);
    rest = lines.pop() ?? '';
    for (const line of lines) say(line);
  }
  say(rest);
}

const TAIL_LINES = 40;

function mapIds(pid: number, ids: 'same' | IdShift): void {
  const map = (file: string): string =>
    ids === 'same' ? sameIds(readFileSync(`/proc/self/${file}`, 'utf8')) : `0 ${ids.base} ${ids.count}\n`;
  writeFileSync(`/proc/${pid}/uid_map`, map('uid_map'));
  writeFileSync(`/proc/${pid}/gid_map`, map('gid_map'));
}

/** All ids that we have, each mapped to itself: user_namespaces(7) has inside, outside, count in each line. */
export function sameIds(ownMap: string): string {
  return ownMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .map(([inside, , count]) => `${inside} ${inside} ${count}\n`)
    .join('');
}
