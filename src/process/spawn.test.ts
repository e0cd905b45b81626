import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ExitResult } from './child-handle.ts';
import { isAlive, readProcStat } from './proc.ts';
import { ProcessError } from './process-error.ts';
import { type SpawnSpec, spawnChild } from './spawn.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-spawn-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Runs a program to its end and returns its output. */
async function run(spec: SpawnSpec): Promise<{ output: string; result: ExitResult }> {
  await using child = await spawnChild({ stdio: ['ignore', 'pipe', 'tail'], ...spec });
  const [output, result] = await Promise.all([text(child.readable(1)), child.exited]);
  return { output, result };
}
const shell = (script: string, ...args: string[]): { command: string; args: string[] } => ({
  command: 'sh',
  args: ['-c', script, 'sh', ...args],
});
async function failure(promise: Promise<unknown>): Promise<ProcessError> {
  const error = await promise.then(
    () => 'it succeeded',
    (reason: unknown) => reason,
  );
  if (error instanceof ProcessError) return error;
  throw new Error(`not a ProcessError: ${String(error)}`);
}

describe('results', () => {
  test.each([false, true])('one shape for success, failure and signals (dieWithParent %s)', async (dieWithParent) => {
    const base = { dieWithParent };
    expect((await run({ ...shell('exit 0'), ...base })).result).toEqual({
      exitCode: 0,
      reason: 'exited',
      durationMs: expect.any(Number) as number,
      stderrTail: '',
    });
    const failed = await run({ ...shell('echo out; echo err >&2; exit 3'), ...base });
    expect(failed.output).toBe('out\n');
    expect(failed.result).toMatchObject({ exitCode: 3, reason: 'exited', stderrTail: 'err\n' });
    const killed = await run({ ...shell('kill -SEGV $$'), ...base });
    expect(killed.result).toMatchObject({ signal: 'SIGSEGV', reason: 'signalled' });
    expect(killed.result).not.toHaveProperty('exitCode');
  });

  test('arguments pass through unchanged, whatever is in them', async () => {
    const args = ['$(exit 9)', '`x`', "it's", '"', '', '-n', '\\', 'a\nb', '*', '--', 'ü'];
    const spec = { ...shell('printf "<%s>" "$@"', ...args), cgroupProcs: [join(root, 'procs')] };
    expect((await run({ ...spec, dieWithParent: true, affinity: [0] })).output).toBe(
      args.map((arg) => `<${arg}>`).join(''),
    );
  });

  test('the program is the child itself, with the pid that the handle says', async () => {
    await using child = await spawnChild({
      ...shell('echo $$; read -r x'),
      stdio: ['pipe', 'pipe', 'tail'],
      dieWithParent: true,
      nice: 1,
    });
    const pid = await new Promise<Buffer>((resolve) => child.readable(1).once('data', resolve));
    expect(Number(pid)).toBe(child.pid);
    expect(readProcStat(child.pid)).toMatchObject({ parentPid: process.pid, startTime: child.identity.startTime });
    expect(getPriority(child.pid)).toBe(Math.min(19, getPriority(0) + 1));
  });

  test('only the end of a long stderr is kept', async () => {
    const long = await run({
      ...shell('i=0; while [ $i -lt 3000 ]; do echo "line $i" >&2; i=$((i+1)); done'),
      stderrTailBytes: 20,
    });
    expect(long.result.stderrTail).toBe('line 2998\nline 2999\n');
  });

  test('a grandchild that keeps stderr open does not delay the result for ever', async () => {
    await using child = await spawnChild(shell('sleep 1000 & echo $! >&2; exit 0'));
    const result = await child.exited;
    expect(result.exitCode).toBe(0);
    process.kill(Number(result.stderrTail), 'SIGKILL');
  });
});

describe('stdio', () => {
  test('stderr to a log file: the child writes it, the result has its end', async () => {
    const path = join(root, 'log');
    writeFileSync(path, 'from before\n');
    const fd = openSync(path, 'a');
    const byFd = run({ ...shell('echo one >&2'), stdio: ['ignore', 'pipe', { fd }] });
    expect((await byFd).result.stderrTail).toBe('one\n');
    closeSync(fd);
    const byPath = run({
      ...shell('echo two >&2'),
      stdio: ['ignore', 'pipe', { path, flags: 'a' }],
      dieWithParent: true,
    });
    expect((await byPath).result.stderrTail).toBe('two\n');
    expect(readFileSync(path, 'utf8')).toBe('from before\none\ntwo\n');
  });

  test.each([false, true])('extra pipes are sockets in both directions (dieWithParent %s)', async (dieWithParent) => {
    await using child = await spawnChild({
      ...shell('read -r word <&3; echo "got $word" >&3'),
      stdio: ['ignore', 'ignore', 'tail', 'pipe'],
      dieWithParent,
    });
    const socket = child.duplex(3);
    socket.write('hello\n');
    expect(await text(socket)).toBe('got hello\n');
  });

  test('the status channel is closed when the program runs', async () => {
    // Whatever this process itself inherited goes on to all children alike.
    const list = { command: 'ls', args: ['-1', '/proc/self/fd'] };
    const plain = await run(list);
    expect((await run({ ...list, dieWithParent: true, cgroupProcs: [join(root, 'procs')] })).output).toBe(plain.output);
  });

  test('files by path, inherited fds and stdin', async () => {
    writeFileSync(join(root, 'in'), 'file content\n');
    const fd = openSync(join(root, 'in'), 'r');
    await using child = await spawnChild({
      ...shell('cat; cat <&4; cat <&5'),
      stdio: ['pipe', 'pipe', 'tail', 'ignore', { path: join(root, 'in'), flags: 'r' }, { fd }],
      dieWithParent: true,
    });
    child.writable(0).end('stdin content\n');
    expect(await text(child.readable(1))).toBe('stdin content\nfile content\nfile content\n');
    closeSync(fd);
    expect(() => child.readable(2)).toThrow("ask for 'pipe'");
    expect(() => child.duplex(3)).toThrow("ask for 'pipe'");
    expect(() => child.readable(9)).toThrow("ask for 'pipe'");
  });

  test('what cannot be opened is an error that names file and fd', async () => {
    const error = await failure(
      spawnChild({ command: 'true', stdio: ['ignore', 'ignore', { path: join(root, 'no/log'), flags: 'a' }] }),
    );
    expect(error).toMatchObject({ operation: 'spawn', errno: 'ENOENT' });
    expect(error.message).toContain(`cannot open ${join(root, 'no/log')} for its fd 2`);
    expect((await failure(spawnChild({ command: 'true', stdio: ['tail'] }))).message).toContain('not 0');
    const bad = await failure(spawnChild({ command: 'true', stdio: ['ignore', 'ignore', { fd: 54_321 }] }));
    expect(bad).toMatchObject({ operation: 'spawn', errno: 'EBADF' });
  });
});

describe('failures to start', () => {
  test('missing programs, folders and permissions', async () => {
    expect(await failure(spawnChild({ command: 'swtpm_nowhere' }))).toMatchObject({
      operation: 'find',
      errno: 'ENOENT',
    });
    expect((await failure(spawnChild({ command: 'true', cwd: join(root, 'gone') }))).message).toContain(
      'working directory',
    );
    writeFileSync(join(root, 'text'), '');
    expect(await failure(spawnChild({ command: join(root, 'text') }))).toMatchObject({ errno: 'EACCES' });
  });

  test.each([false, true])('too long an argument list (dieWithParent %s)', async (dieWithParent) => {
    const error = await failure(spawnChild({ command: 'true', args: ['x'.repeat(200_000)], dieWithParent }));
    expect(error).toMatchObject({ operation: 'spawn', errno: 'E2BIG', command: 'true' });
    expect(error.message).toContain('through a file');
  });

  test('a cgroup that does not take the child: file and first cause, and the program never ran', async () => {
    const spec = {
      ...shell('echo ran >"$1"', join(root, 'ran')),
      cgroupProcs: [join(root, 'ok'), join(root, 'none/cgroup.procs')],
    };
    const error = await failure(spawnChild(spec));
    expect(error).toMatchObject({ operation: 'set up', exitCode: 125 });
    expect(error.message).toContain(`to ${join(root, 'none/cgroup.procs')}: `);
    expect(error.message).toMatch(/No such file|nonexistent/);
    expect(() => readFileSync(join(root, 'ran'))).toThrow('ENOENT');
    // /dev/full takes the open and refuses the write, as a cgroup file does.
    const full = await failure(spawnChild({ command: 'true', cgroupProcs: ['/dev/full'] }));
    expect(full.message).toContain('to /dev/full: ');
    expect(full.message).toContain('No space left on device');
  });

  test('a setup that is not reported: its end tells the cause, and the program never ran', async () => {
    const ran = join(root, 'ran');
    const cgroupProcs = [join(root, 'none/cgroup.procs')];
    await using child = await spawnChild({ ...shell('echo ran >"$1"', ran), cgroupProcs, unreported: true });
    const { exitCode, stderrTail } = await child.exited;
    expect(exitCode).toBe(125);
    expect(stderrTail).toContain(`to ${cgroupProcs[0]}: `);
    expect(() => readFileSync(ran)).toThrow('ENOENT');
  });

  test('a limit that is refused is told in the words of the tool', async () => {
    const error = await failure(spawnChild({ command: 'true', limits: { nofile: { soft: 10, hard: 5 } } }));
    expect(error.operation).toBe('set up');
    expect(error.message).toMatch(/limit|NOFILE/i);
  });

  test('an affinity without a CPU of this host', async () => {
    expect((await failure(spawnChild({ command: 'true', affinity: [8191] }))).operation).toBe('set up');
  });
});

describe('setup', () => {
  test('the child is in its cgroup files before the program runs; limits and affinity hold', async () => {
    const files = [join(root, 'a b'), join(root, 'c')];
    const { output } = await run({
      ...shell('cat "$1" "$2"; echo $$; ulimit -n; taskset -pc $$; cat /proc/self/oom_score_adj', ...files),
      cgroupProcs: files,
      limits: { nofile: 77 },
      affinity: [0],
      oomScoreAdj: 555,
      dieWithParent: true,
    });
    const [first, second, pid, nofile, affinity, oom] = output.trim().split('\n');
    expect([first, second]).toEqual([pid, pid]);
    expect(nofile).toBe('77');
    expect(affinity).toMatch(/: 0$/);
    expect(oom).toBe('555');
  });

  test('a group of threads is joined as one, by the writer itself, which holds up nobody', async () => {
    const groups = ['v1', 'v2', 'threaded', 'other'].map((name) => join(root, name));
    for (const dir of groups) {
      mkdirSync(dir);
      writeFileSync(join(dir, 'cgroup.procs'), '');
    }
    const [v1 = '', , threaded = '', other = ''] = groups;
    writeFileSync(join(v1, 'tasks'), '');
    writeFileSync(join(threaded, 'cgroup.threads'), '');
    // The kernel refuses what comes from another domain.
    mkdirSync(join(other, 'cgroup.threads'));
    for (const dir of [threaded, other]) writeFileSync(join(dir, 'cgroup.type'), 'threaded\n');
    const { output } = await run({
      ...shell(
        'for dir; do cat "$dir"/tasks "$dir"/cgroup.procs "$dir"/cgroup.threads; done 2>/dev/null; echo $$',
        ...groups,
      ),
      cgroupProcs: groups.map((dir) => join(dir, 'cgroup.procs')),
    });
    const [first, second, third, last, pid] = output.trim().split('\n');
    expect([first, second, third, last]).toEqual(['0', pid, '0', pid]);
  });

  test('the parent-death signal is armed, with a session of its own or not', async () => {
    const { output } = await run({ command: 'setpriv', args: ['--dump'], dieWithParent: true, newSession: true });
    expect(output).toContain('Parent death signal: KILL');
    expect((await run({ command: 'setpriv', args: ['--dump'] })).output).toContain('Parent death signal: [none]');
  });

  test('a session of its own', async () => {
    await using child = await spawnChild({ command: 'sleep', args: ['1000'], newSession: true });
    expect(readProcStat(child.pid)).toMatchObject({ session: child.pid, processGroup: child.pid });
  });

  test.runIf(process.getuid?.() === 0)('as another user, the signal is still armed', async () => {
    const { output } = await run({
      command: 'setpriv',
      args: ['--dump'],
      dieWithParent: true,
      user: 65534,
      group: 65534,
    });
    expect(output).toMatch(/uid: 65534[^]*Supplementary groups: \[none\][^]*Parent death signal: KILL/);
  });

  test('the environment and the folder are those asked for', async () => {
    const { output } = await run({
      ...shell('echo "$MARK"; pwd -P'),
      env: { PATH: '/bin', MARK: 'x y' },
      cwd: root,
      dieWithParent: true,
    });
    expect(output).toBe(`x y\n${root}\n`);
  });
});

describe('beforeExec', () => {
  test('runs with the pid before the program does', async () => {
    const seen: string[] = [];
    await using child = await spawnChild(
      { command: 'sleep', args: ['1000'] },
      {
        beforeExec: async (pid) => {
          await new Promise(setImmediate);
          seen.push(readProcStat(pid)?.comm ?? '');
        },
      },
    );
    expect(seen).toEqual(['sh']);
    expect(child.result).toBeUndefined();
  });

  test('its failure means that the program never runs and the child is gone', async () => {
    let pid = 0;
    const spec = shell('echo ran >"$1"', join(root, 'ran'));
    const start = spawnChild(spec, {
      beforeExec: (childPid) => {
        pid = childPid;
        throw new Error('the ledger is full');
      },
    });
    await expect(start).rejects.toThrow('the ledger is full');
    expect(readProcStat(pid)?.gone ?? true).toBe(true);
    expect(() => readFileSync(join(root, 'ran'))).toThrow('ENOENT');
  });

  test('needs one of the single-digit fds', async () => {
    const stdio = Array.from({ length: 10 }, () => ({ path: '/dev/null', flags: 'r' }) as const);
    const error = await failure(spawnChild({ command: 'true', stdio }, { beforeExec: () => {} }));
    expect(error.message).toContain('leave one of them free');
    await using child = await spawnChild({ command: 'true', stdio, dieWithParent: true });
    expect(await child.exited).toMatchObject({ exitCode: 0 });
  });
});

describe('ending', () => {
  test('terminate, and the first reason wins', async () => {
    await using child = await spawnChild({ command: 'sleep', args: ['1000'] });
    const [first, second] = await Promise.all([
      child.terminate({ reason: 'aborted' }),
      child.terminate({ graceMs: 0, reason: 'terminated' }),
    ]);
    expect(first.reason).toBe('aborted');
    expect(second).toBe(first);
    expect(await child.terminate()).toBe(first);
    expect(child.kill('SIGTERM')).toBe(false);
  });

  test('a child that ignores SIGTERM is killed after the bound', async () => {
    await using child = await spawnChild({
      ...shell('trap "" TERM; echo; read -r x'),
      stdio: ['pipe', 'pipe', 'tail'],
    });
    await new Promise((resolve) => child.readable(1).once('data', resolve));
    expect(await child.terminate({ graceMs: 10 })).toMatchObject({ signal: 'SIGKILL', reason: 'terminated' });
  });

  test('an exit before the request is an exit', async () => {
    await using child = await spawnChild({ command: 'true' });
    await child.exited;
    expect(await child.terminate()).toMatchObject({ exitCode: 0, reason: 'exited' });
  });

  test('disposal ends it, and a released one is left running', async () => {
    const disposed = await spawnChild({ command: 'sleep', args: ['1000'], dieWithParent: true });
    await disposed[Symbol.asyncDispose]();
    await disposed[Symbol.asyncDispose]();
    expect(disposed.result).toMatchObject({ reason: 'disposed', signal: 'SIGTERM' });
    const released = await spawnChild({ command: 'sleep', args: ['1000'], newSession: true });
    released.release();
    await released[Symbol.asyncDispose]();
    expect(isAlive(released.identity)).toBe(true);
    await released.terminate({ graceMs: 0 });
    expect(isAlive(released.identity)).toBe(false);
  });

  test('the lifetime signal ends it', async () => {
    const lifetime = new AbortController();
    await using child = await spawnChild({ command: 'sleep', args: ['1000'] }, { lifetime: lifetime.signal });
    lifetime.abort();
    expect(await child.exited).toMatchObject({ reason: 'aborted', signal: 'SIGTERM' });
    await expect(spawnChild({ command: 'true' }, { lifetime: lifetime.signal })).rejects.toThrow('aborted');
  });

  test('the start signal ends a start that is under way, and nothing afterwards', async () => {
    const controller = new AbortController();
    let pid = 0;
    const start = spawnChild(
      { command: 'sleep', args: ['1000'] },
      {
        signal: controller.signal,
        beforeExec: (childPid) => {
          pid = childPid;
          controller.abort(new Error('too late'));
        },
      },
    );
    await expect(start).rejects.toThrow('too late');
    expect(readProcStat(pid)?.gone ?? true).toBe(true);
    const after = new AbortController();
    await using child = await spawnChild(
      { command: 'sleep', args: ['1000'], dieWithParent: true },
      { signal: after.signal },
    );
    after.abort();
    await new Promise(setImmediate);
    expect(isAlive(child.identity)).toBe(true);
  });
});

describe('security labels', () => {
  test('are written by the process itself, last of all', async () => {
    const file = join(root, 'exec');
    const execLabels = [{ file, label: 'exec a:b:c' }];
    const { output } = await run({ ...shell(`cat ${file}; echo " $PPID"`), execLabels, dieWithParent: true });
    expect(output).toBe(`exec a:b:c ${process.pid}\n`);
  });

  test('that the kernel does not take keep the program from being executed', async () => {
    const execLabels = [{ file: join(root, 'none/exec'), label: 'a:b:c' }];
    const error = await failure(spawnChild({ ...shell('exit 0'), execLabels }));
    expect(error.operation).toBe('set up');
    expect(error.message).toMatch(/the kernel does not take the security label a:b:c \(.*none\/exec\)/);
  });
});
