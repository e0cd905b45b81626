import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pollUntil } from '../../tests/support/poll.ts';
import { removeTree } from '../core/fs.ts';
import { findProgram } from './find-program.ts';
import { inheritedContext, Nursery, type SparePlace } from './nursery.ts';
import type { NurserySpec } from './nursery-child.ts';
import { nurseryProgram } from './nursery-program.ts';
import { encodeRequest, parseEvent } from './nursery-words.ts';
import { isAlive, listChildren, readProcStat } from './proc.ts';

const AROUND = { command: 'env', args: [] };
/** The kernel ends all of its children with it. */
const ENDING = { command: 'unshare', args: ['--pid', '--fork', '--kill-child', '--'] };

let dir = '';

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nursery-'));
});

afterEach(async () => {
  await removeTree(dir, { root: tmpdir() });
});

function shell(script: string, ...args: string[]): NurserySpec {
  const common = { namespaces: [], mounts: [], stderr: join(dir, 'stderr') };
  return { ...common, command: 'sh', args: ['-c', script, 'sh', ...args] };
}

describe.runIf(Nursery.isPossible())('a child of a nursery', () => {
  it('has its arguments as they are, and tells its status and its last words', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const words = ['', 'two words', 'a\nb', "'$(x)'", 'ü'];
    const out = join(dir, 'out');
    const child = await nursery.start(
      shell('out=$1; shift; printf "<%s>" "$@" >"$out"; echo over >&2; exit 7', out, ...words),
    );
    expect(await child.exited).toMatchObject({ exitCode: 7, reason: 'exited', stderrTail: 'over\n' });
    expect(readFileSync(out, 'utf8')).toBe(words.map((word) => `<${word}>`).join(''));
    expect(child.kill('SIGTERM')).toBe(false);
  });

  it("is a process like any other: no signal is ignored, none of its maker's descriptors is open", async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const out = join(dir, 'out');
    const script = 'grep SigIgn /proc/$$/status >"$1"; exec >>"$1"; exec ls /proc/self/fd';
    await (await nursery.start(shell(script, out))).exited;
    const [signals, ...descriptors] = readFileSync(out, 'utf8').trim().split('\n');
    expect(signals).toBe('SigIgn:\t0000000000000000');
    // The folder that it lists is the fourth.
    expect(descriptors.filter((fd) => Number(fd) < 10)).toEqual(['0', '1', '2', '3']);
  });

  it('is ended by a signal that is told, by its own pid', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const child = await nursery.start(shell('exec sleep 1000'));
    expect(isAlive(child.identity)).toBe(true);
    expect(await child.terminate({ graceMs: 0 })).toMatchObject({ signal: 'SIGKILL', reason: 'terminated' });
    expect(isAlive(child.identity)).toBe(false);
  });

  it('waits at its gate, where it says so, before its program and in it', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const out = join(dir, 'out');
    const spec = shell('echo first >"$1"; echo ready >&3; read -r go <&3; echo "$go" >>"$1"', out);
    const child = await nursery.start({ ...spec, gate: join(dir, 'gate'), hold: true, keepsGate: true });
    expect(existsSync(out)).toBe(false);
    child.letOn();
    expect(await child.line()).toBe('ready');
    expect(readFileSync(out, 'utf8')).toBe('first\n');
    child.letOn();
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect(readFileSync(out, 'utf8')).toBe('first\ngo\n');
  });

  it('says what it likes at its gate, with variables and a folder of its own, and adds to a log that others write too', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    writeFileSync(join(dir, 'stderr'), 'before\n');
    const more = {
      gate: join(dir, 'gate'),
      keepsGate: true,
      appends: true,
      variables: { ODD: "two 'words'" },
      cwd: dir,
    };
    const child = await nursery.start({ ...shell('echo "$ODD $(pwd -P)" >&3; echo over >&2; exit 3'), ...more });
    expect(await child.line()).toBe(`two 'words' ${realpathSync(dir)}`);
    child.closeGate();
    // They are not its own last words alone.
    expect(await child.exited).toMatchObject({ exitCode: 3, stderrTail: '' });
    expect(readFileSync(join(dir, 'stderr'), 'utf8')).toBe('before\nover\n');
  });

  it('joins what it is told to before its program runs', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const [tasks, procs] = [join(dir, 'tasks'), join(dir, 'procs')];
    for (const path of [tasks, procs]) writeFileSync(path, '');
    const cgroupProcs = [join(dir, 'cgroup.procs'), procs];
    const child = await nursery.start({ ...shell('true'), cgroupProcs });
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect([tasks, procs].map((path) => readFileSync(path, 'utf8'))).toEqual(['0', '0']);
  });

  it.runIf(process.getuid?.() === 0)('finds what was made for it in what was mounted', async () => {
    await using nursery = await Nursery.open({});
    const at = join(dir, 'dev');
    mkdirSync(at);
    const mount = { type: 'tmpfs', name: 'devfs', target: at, data: 'mode=711,size=64k', withNodes: true };
    const node = { kind: 'node', mode: 0o646, source: '/dev/null' } as const;
    const script = 'cd "$1"; echo x >null; stat -c "%A %t:%T" null other; readlink tty1; cat console; stat -c %a .';
    const child = await nursery.start({
      ...shell(`{ ${script}; grep "$1 " /proc/mounts; } >"$2"`, at, join(dir, 'out')),
      namespaces: ['mount'],
      mounts: [mount],
      files: [
        { ...node, path: join(at, 'null'), major: 1, minor: 3 },
        { ...node, path: join(at, 'other'), major: 10, minor: 0x10203 },
        { kind: 'link', path: join(at, 'tty1'), target: 'console' },
        { kind: 'file', path: join(at, 'console') },
      ],
    });
    expect(await child.exited).toMatchObject({ exitCode: 0, stderrTail: '' });
    expect(readFileSync(join(dir, 'out'), 'utf8').trim().split('\n')).toEqual([
      'crw-r--rw- 1:3',
      'crw-r--rw- a:10203',
      'console',
      '711',
      expect.stringMatching(/^devfs \S+ tmpfs rw,nosuid,relatime,size=64k,mode=711/),
    ]);
    expect(existsSync(join(at, 'null'))).toBe(false);
  });

  it.runIf(process.getuid?.() === 0)("has the host's own node where nobody may make one", async () => {
    const around = { command: 'setpriv', args: ['--bounding-set', '-mknod', '--inh-caps', '-mknod'] };
    await using nursery = await Nursery.open({ around });
    const path = join(dir, 'zero');
    const files = [{ kind: 'node', path, mode: 0o600, source: '/dev/zero', major: 1, minor: 5 } as const];
    const spec = shell('head -c 2 "$1" | od -An -tx1 >"$2"', path, join(dir, 'out'));
    const child = await nursery.start({ ...spec, namespaces: ['mount'], files });
    expect(await child.exited).toMatchObject({ exitCode: 0, stderrTail: '' });
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe(' 00 00\n');
  });

  it('executes a sealed copy of the program that would make one, under its name, as does whom it tells', async () => {
    const program = findProgram('sh');
    await using nursery = await Nursery.open({ program });
    const out = join(dir, 'out');
    const script = '{ readlink /proc/$$/exe; echo "$0 $1"; cat /proc/$$/comm; "${1#*=}" -c "echo inner"; } >"$2"';
    const child = await nursery.start({
      ...shell(script, `--runtime=${program}`, out),
      command: program,
      copyAt: join(dir, 'shell'),
    });
    expect(await child.exited).toMatchObject({ exitCode: 0, stderrTail: '' });
    const copied = `sh --runtime=${join(dir, 'shell')}\nshell\ninner\n`;
    expect(readFileSync(out, 'utf8')).toBe(`/memfd:sh (deleted)\n${copied}`);
    // Who does not need it has not got it.
    const other = await nursery.start({
      ...shell('[ ! -e /proc/self/fd/10 ]'),
      command: program,
      copyAt: join(dir, 'x'),
    });
    expect(await other.exited).toMatchObject({ exitCode: 0 });
  });

  it('runs all the same where the kernel takes none of its programs for groups', async () => {
    const refused = { programType: 23, attachType: 18, name: 'refused', code: '00'.repeat(8) };
    await using nursery = await Nursery.open({ around: AROUND, programs: [refused] });
    const programs = [{ place: 0, directory: dir }];
    const out = join(dir, 'out');
    for (const _ of [1, 2]) {
      const child = await nursery.start({ ...shell('echo here >>"$1"', out), programs });
      expect(await child.exited).toMatchObject({ exitCode: 0, stderrTail: '' });
    }
    expect(readFileSync(out, 'utf8')).toBe('here\nhere\n');
  });

  it('executes a script as it is', async () => {
    const program = join(dir, 'script');
    writeFileSync(program, '#!/bin/sh\necho "$0 $1" >"$2"\n', { mode: 0o755 });
    await using nursery = await Nursery.open({ program });
    const args = [`--runtime=${program}`, join(dir, 'out')];
    const child = await nursery.start({ ...shell(''), command: program, args, copyAt: join(dir, 'copy') });
    expect(await child.exited).toMatchObject({ exitCode: 0, stderrTail: '' });
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe(`${program} --runtime=${program}\n`);
  });

  it.each<[string, (spec: NurserySpec) => NurserySpec, RegExp]>([
    [
      'a program that is not there',
      (spec) => ({ ...spec, command: '/none/such' }),
      /^cannot execute \/none\/such: No such file/,
    ],
    [
      'a group that refuses it',
      (spec) => ({ ...spec, cgroupProcs: ['/dev/full'] }),
      /^cannot write 0 to \/dev\/full: No space left/,
    ],
    [
      'a link where none may be',
      (spec) => ({ ...spec, link: { path: join(dir, 'link'), why: 'no links' } }),
      /^no links$/,
    ],
    [
      'a file system that cannot be mounted',
      (spec) => ({ ...spec, mounts: [{ type: 'none-such', target: dir }] }),
      /^cannot mount none-such on .*: (No such device|Operation not permitted)/,
    ],
  ])('does not run with %s', async (_, change, words) => {
    symlinkSync('/', join(dir, 'link'));
    await using nursery = await Nursery.open({ around: AROUND });
    const child = await nursery.start(change(shell('touch "$1"', join(dir, 'ran'))));
    const { exitCode, stderrTail } = await child.exited;
    expect(exitCode).toBe(125);
    expect(stderrTail.trim()).toMatch(words);
    expect(existsSync(join(dir, 'ran'))).toBe(false);
  });

  it('is refused in one line where it cannot even say why', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const spec = { ...shell('true'), stderr: join(dir, 'none/stderr') };
    await expect(nursery.start(spec)).rejects.toThrow('cannot start sh: it ended at once');
  });

  it('is one of many at once, of which none is forgotten', async () => {
    await using nursery = await Nursery.open({ around: AROUND });
    const codes = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const spec = { ...shell(`exit ${index}`), stderr: join(dir, `stderr${index}`) };
        return (await (await nursery.start(spec)).exited).exitCode;
      }),
    );
    expect(codes).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });
});

// A namespace of processes is root's to make.
describe.runIf(Nursery.isPossible() && process.getuid?.() === 0)('a spare of a nursery', () => {
  const inside = (script: string, ...args: string[]): NurserySpec => {
    return { ...shell(script, ...args), namespaces: ['pid', 'mount'], gate: join(dir, 'gate') };
  };
  let places = 0;
  const placeOf = (): SparePlace => ({ path: join(dir, `spare${places++}`), onGone: () => {} });
  const parentOf = (pid: number): number => readProcStat(pid)?.parentPid ?? 0;
  const childrenOf = (pid: number): number[] => listChildren(pid).map((child) => child.pid);
  const isSpare = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('(spare)');
  const sparesOf = (nursery: number): number[] => childrenOf(nursery).filter(isSpare);
  /** Once it can be had. `former`: which was one, and may be on its way to its program still. */
  const keepSpare = async (nursery: Nursery, maker: number, ...former: number[]): Promise<number> => {
    let isGone = false;
    await nursery.keepSpare(() => ({ path: placeOf().path, onGone: () => (isGone = true) }));
    let found: number | undefined;
    await pollUntil(() => {
      found = sparesOf(maker).find((pid) => !former.includes(pid));
      return found !== undefined && isGone;
    }, 'there is no spare');
    // What it has heard of it comes with what is said next.
    await (await nursery.start(shell('true'))).exited;
    return found ?? 0;
  };

  it('is what is started, announced before it does anything, first of its processes and with the mounts of now', async () => {
    await using nursery = await Nursery.open({ around: ENDING });
    const out = join(dir, 'out');
    const announced: number[] = [];
    const announce = (pid: number): void => {
      expect(existsSync(out)).toBe(false);
      announced.push(pid);
    };
    const first = await nursery.start(inside('exec sleep 1000'), undefined, announce);
    const spare = await keepSpare(nursery, parentOf(first.pid), first.pid);
    mkdirSync(join(dir, 'late'));
    execFileSync('mount', ['-t', 'tmpfs', 'late', join(dir, 'late')]);
    try {
      const script = 'echo "$$ $(grep -c "$1" /proc/self/mounts)" >"$2"; exec sleep 1000';
      const child = await nursery.start(inside(script, join(dir, 'late'), out), undefined, announce);
      expect([child.pid, announced]).toEqual([spare, [first.pid, spare]]);
      await pollUntil(() => existsSync(out) && readFileSync(out, 'utf8') === '1 1\n', 'it says something else');
      expect(await child.terminate({ graceMs: 0 })).toMatchObject({ signal: 'SIGKILL' });
    } finally {
      execFileSync('umount', [join(dir, 'late')]);
    }
  });

  it('is nobody else where several want one', async () => {
    await using nursery = await Nursery.open({ around: ENDING });
    const start = async (index: number): Promise<void> => {
      const spec = { ...inside('exit 7'), gate: join(dir, `gate${index}`), stderr: join(dir, `stderr${index}`) };
      let announced: number | undefined;
      const child = await nursery.start(spec, undefined, async (pid) => {
        await new Promise(setImmediate);
        announced = pid;
      });
      expect(child.pid).toBe(announced);
      expect(await child.exited).toMatchObject({ exitCode: 7 });
    };
    for (let round = 0; round < 10; round++) {
      await Promise.all([0, 1, 2].map(start));
      await nursery.keepSpare(placeOf);
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
  });

  it('that is killed is no loss, and one that is not used ends with its nursery', async () => {
    const nursery = await Nursery.open({});
    const first = await nursery.start(inside('exec sleep 1000'), undefined, () => {});
    const maker = parentOf(first.pid);
    const spare = await keepSpare(nursery, maker, first.pid);
    const announced: number[] = [];
    const child = await nursery.start(inside('exit 5'), undefined, (pid) => {
      if (announced.length === 0) process.kill(pid, 'SIGKILL');
      announced.push(pid);
    });
    expect(announced).toEqual([spare, child.pid]);
    expect(await child.exited).toMatchObject({ exitCode: 5 });
    const last = await keepSpare(nursery, maker, first.pid, child.pid);
    await nursery[Symbol.asyncDispose]();
    await pollUntil(() => !existsSync(`/proc/${last}`) || childrenOf(maker).length === 0, 'the spare stays');
    process.kill(first.pid, 'SIGKILL');
  });

  it('is no longer there where its announcement fails, which stops nobody else', async () => {
    await using nursery = await Nursery.open({ around: ENDING });
    const first = await nursery.start(inside('exec sleep 1000'), undefined, () => {});
    await keepSpare(nursery, parentOf(first.pid), first.pid);
    const refuse = (): never => {
      throw new Error('not this one');
    };
    await expect(nursery.start(inside('exit 0'), undefined, refuse)).rejects.toThrow('not this one');
    const child = await nursery.start(inside('exit 3'), undefined, () => {});
    expect(await child.exited).toMatchObject({ exitCode: 3 });
    await pollUntil(() => sparesOf(parentOf(first.pid)).length === 0, 'the spare stays');
  });

  it('has the gate that it was made with, by which it is held, and which its program may have', async () => {
    await using nursery = await Nursery.open({ around: ENDING });
    const first = await nursery.start(inside('exec sleep 1000'), undefined, () => {});
    const spare = await keepSpare(nursery, parentOf(first.pid), first.pid);
    const child = await nursery.start({ ...inside('echo program >&3'), hold: true, keepsGate: true });
    expect(child.pid).toBe(spare);
    child.letOn();
    expect(await child.line()).toBe('program');
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect(readdirSync(dir).filter((name) => name.startsWith('spare'))).toEqual([]);
    await keepSpare(nursery, parentOf(first.pid), first.pid, spare);
    const other = await nursery.start(inside('[ ! -e /proc/self/fd/3 ]'));
    expect(await other.exited).toMatchObject({ exitCode: 0 });
  });

  it('goes with its nursery that is killed while somebody is told of it', async () => {
    const nursery = await Nursery.open({ outlived: true });
    const first = await nursery.start(inside('exec sleep 1000'), undefined, () => {});
    const maker = parentOf(first.pid);
    const pid = await keepSpare(nursery, maker, first.pid);
    const spare = { pid, startTime: readProcStat(pid)?.startTime ?? '' };
    const announce = async (): Promise<void> => {
      process.kill(maker, 'SIGKILL');
      await pollUntil(() => nursery.hasEnded, 'it does not end');
    };
    const starting = nursery.start(inside('exit 0'), undefined, announce);
    await expect(starting).rejects.toThrow('what was to start it has ended: SIGKILL');
    await pollUntil(() => !isAlive(spare), 'the spare stays');
    process.kill(first.pid, 'SIGKILL');
    await nursery[Symbol.asyncDispose]();
  });

  it('is not made where its gate cannot be, and told nothing of', async () => {
    await using nursery = await Nursery.open({ around: ENDING });
    let isGone = false;
    const place = { path: join(dir, 'none/spare'), onGone: () => (isGone = true) };
    await expect(nursery.keepSpare(() => place)).rejects.toThrow(/^listen /);
    expect(isGone).toBe(true);
    expect(await (await nursery.start(inside('exit 4'))).exited).toMatchObject({ exitCode: 4 });
  });
});

describe.runIf(Nursery.isPossible())('a nursery', () => {
  it('that is killed takes nobody for alive, and starts nobody', async () => {
    const pidFile = join(dir, 'pid');
    const around = { command: 'sh', args: ['-c', 'echo $$ >"$0"; exec "$@"', pidFile] };
    const nursery = await Nursery.open({ around });
    const child = await nursery.start(shell('exec sleep 1000'));
    process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    await expect(nursery.start(shell('true'))).rejects.toThrow(
      'cannot start sh: what was to start it has ended: SIGKILL',
    );
    // Nothing around this one ends its children with it.
    process.kill(child.pid, 'SIGKILL');
    await nursery[Symbol.asyncDispose]();
  });

  it('says in the words of what is around it why there is none', async () => {
    const refusing = join(dir, 'refuse');
    writeFileSync(refusing, '#!/bin/sh\necho "not here" >&2\nexit 1\n');
    chmodSync(refusing, 0o755);
    const nursery = await Nursery.open({ around: { command: refusing, args: [] } });
    await expect(nursery.start(shell('true'))).rejects.toThrow(/^not here$/);
    expect(nursery.hasEnded).toBe(true);
    await nursery[Symbol.asyncDispose]();
  });

  it('that is retired ends with its last child', async () => {
    const nursery = await Nursery.open({ around: AROUND });
    const starting = nursery.start({ ...shell('sleep 0.05'), gate: join(dir, 'gate'), hold: true });
    nursery.retire();
    const child = await starting;
    child.letOn();
    expect([nursery.isLeaving, nursery.hasEnded]).toEqual([false, false]);
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect(nursery.isLeaving).toBe(true);
    await pollUntil(() => nursery.hasEnded, 'it does not end');
    await nursery[Symbol.asyncDispose]();
  });
});

describe('how a nursery is spoken to', () => {
  it('counts bytes, not letters', () => {
    const request = { id: 1, stderr: 'ü', namespaces: ['pid'], mounts: [], command: 'x', args: [] } as const;
    const [head = '', ...rest] = encodeRequest(request).toString().split('\n');
    expect(Buffer.byteLength(rest.join('\n'))).toBe(Number(head));
  });

  it('understands its events, and nothing else', () => {
    expect(parseEvent('3 runs 4711')).toEqual({ id: 3, type: 'runs', pid: 4711 });
    expect(parseEvent('3 ended 9')).toEqual({ id: 3, type: 'ended', status: 9 });
    expect(parseEvent('3 refused Out of memory')).toEqual({ id: 3, type: 'refused', why: 'Out of memory' });
    expect(parseEvent('hello')).toBeUndefined();
  });

  it('has a program where the numbers of system calls are known', () => {
    expect(nurseryProgram('x64')).toContain('syscall(56,');
    expect(nurseryProgram('riscv64')).toContain('syscall(220,');
    expect(nurseryProgram('mips')).toBeUndefined();
  });

  it('changes with what its children would inherit', () => {
    const before = inheritedContext();
    expect(inheritedContext()).toBe(before);
    const mask = process.umask(0o077);
    try {
      expect(inheritedContext()).not.toBe(before);
    } finally {
      process.umask(mask);
    }
  });
});
