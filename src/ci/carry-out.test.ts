/** Steps on plain files and short-lived commands: order, memory, failures, and what is given back. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../process/proc.ts';
import { type CarryOutOptions, CiStepError, carryOut, undoAll } from './carry-out.ts';
import type { StartedService } from './run-service.ts';
import type { CiAction, CiStep } from './step.ts';

let folder: string;
let options: CarryOutOptions;
let seen: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ci-carry-out-'));
  seen = [];
  options = {
    stateFile: join(folder, 'state.json'),
    logFolder: join(folder, 'log'),
    onStep: ({ id }, outcome) => seen.push(`${id} ${outcome}`),
  };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);
const write = (name: string, content: string): CiAction => ({ kind: 'write', path: at(name), content });
const remove = (name: string): CiAction => ({ kind: 'remove', path: at(name) });
const sh = (script: string): CiAction => ({ kind: 'run', command: 'sh', args: ['-c', script] });

function step(id: string, actions: readonly CiAction[], undo: readonly CiAction[], more: Partial<CiStep> = {}): CiStep {
  return { id, title: `step ${id}`, why: '', done: false, actions, undo, ...more };
}
const makes = (name: string): CiStep => step(name, [write(name, '1')], [remove(name)]);

describe('carrying out', () => {
  it('does what is not done, in order, and says what is refused', async () => {
    const refused = step('c', [write('c', '1')], [], { refusal: 'no such thing' });
    expect(await carryOut([makes('a'), { ...makes('b'), done: true }, refused], options)).toEqual([refused]);
    expect(seen).toEqual(['a done', 'b already', 'c refused']);
    expect([existsSync(at('a')), existsSync(at('b')), existsSync(at('c'))]).toEqual([true, false, false]);
  });

  it('remembers how a step is undone before it is carried out', async () => {
    await carryOut([step('a', [sh(`cp '${at('state.json')}' '${at('copy')}'`)], [remove('x')])], options);
    expect(JSON.parse(readFileSync(at('copy'), 'utf8'))).toEqual([
      { id: 'a', commands: [{ kind: 'remove', path: at('x') }], services: [] },
    ]);
  });

  it('stops at the first failure with cause and fix, gives that step back and keeps the others', async () => {
    const bad = step('b', [write('b', '1'), sh('echo not allowed >&2; exit 3')], [remove('b')], { fix: 'ask for it' });
    const failure = carryOut([makes('a'), bad, makes('c')], options);
    await expect(failure).rejects.toThrow(CiStepError);
    await expect(failure).rejects.toThrow(/^step b: '.*' failed: not allowed; ask for it$/);
    expect([existsSync(at('a')), existsSync(at('b')), existsSync(at('c'))]).toEqual([true, false, false]);
    expect(await undoAll(options)).toEqual({ undone: ['a'], problems: [] });
    expect(existsSync(at('a'))).toBe(false);
  });

  it('a device that cannot be opened is a failure that names it', async () => {
    const denied = step('a', [{ kind: 'open', path: at('device') }], [], { fix: 'give it' });
    await expect(carryOut([denied], options)).rejects.toThrow(
      /^step a: \S+device cannot be opened: ENOENT.*; give it$/,
    );
  });
});

describe('giving back', () => {
  it('goes backwards, and there is nothing left to give back', async () => {
    const order = (id: string): CiStep => step(id, [], [sh(`echo ${id} >> '${at('order')}'`)]);
    await carryOut([order('a'), order('b'), order('c')], options);
    expect((await undoAll(options)).undone).toEqual(['c', 'b', 'a']);
    expect(readFileSync(at('order'), 'utf8')).toBe('c\nb\na\n');
    expect(existsSync(options.stateFile)).toBe(false);
    expect(await undoAll(options)).toEqual({ undone: [], problems: [] });
  });

  it('keeps in mind what could not be given back', async () => {
    await carryOut([step('a', [], [sh(`test -e '${at('ready')}'`)]), makes('b')], options);
    expect(await undoAll(options)).toEqual({ undone: ['b'], problems: [expect.stringMatching(/^a: /)] });
    writeFileSync(at('ready'), '');
    expect(await undoAll(options)).toEqual({ undone: ['a'], problems: [] });
  });
});

describe('services', () => {
  /** Listens on a socket, like a daemon. */
  const daemon = (script: string): CiAction => ({
    kind: 'service',
    command: process.execPath,
    args: ['-e', script, at('s')],
    socket: at('s'),
  });
  const listens = "require('net').createServer().listen(process.argv[1])";
  const remembered = (): StartedService => JSON.parse(readFileSync(options.stateFile, 'utf8'))[0].services[0];

  it('are ready when they answer, are remembered, and end', async () => {
    await carryOut([step('a', [daemon(listens)], [])], options);
    const service = remembered();
    expect(isAlive(service)).toBe(true);
    expect(await undoAll(options)).toEqual({ undone: ['a'], problems: [] });
    expect(isAlive(service)).toBe(false);
    expect(existsSync(options.stateFile)).toBe(false);
  });

  it('that give up say why', async () => {
    const gives = daemon("console.error('no such bus'); process.exit(4)");
    await expect(carryOut([step('a', [gives], [])], options)).rejects.toThrow(
      /it ended with status 4; its last words: no such bus/,
    );
    expect(existsSync(options.stateFile)).toBe(false);
  });

  it('that answer nobody are ended again', async () => {
    const refuses = `cp '${at('state.json')}' '${at('copy')}'; echo refused >&2; exit 1`;
    const client = { ...daemon(listens), client: ['sh', '-c', refuses] };
    await expect(carryOut([step('a', [client], [])], options)).rejects.toThrow(/it answers no client: refused/);
    expect(existsSync(options.stateFile)).toBe(false);
    expect(isAlive(JSON.parse(readFileSync(at('copy'), 'utf8'))[0].services[0])).toBe(false);
  });
});
