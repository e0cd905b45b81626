import { chmodSync, existsSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pollUntil } from '../../tests/support/poll.ts';
import { removeTree } from '../core/fs.ts';
import { inheritedContext, Nursery, type NurserySpec } from './nursery.ts';
import { encodeRequest, nurseryProgram, parseEvent } from './nursery-program.ts';
import { isAlive } from './proc.ts';

const AROUND = { command: 'env', args: [] };

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
    await child.untilReady();
    expect(existsSync(out)).toBe(false);
    child.letOn();
    await child.untilReady();
    expect(readFileSync(out, 'utf8')).toBe('first\n');
    child.letOn();
    expect(await child.exited).toMatchObject({ exitCode: 0 });
    expect(readFileSync(out, 'utf8')).toBe('first\ngo\n');
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
    await child.untilReady();
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
    const request = { id: 1, stderr: 'ü', joins: [], namespaces: ['pid'], mounts: [], command: 'x', args: [] } as const;
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
