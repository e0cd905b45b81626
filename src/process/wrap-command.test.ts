import { expect, test } from 'vitest';
import { ProcessError } from './process-error.ts';
import { type ChildSetup, needsWrapper, type WrapFacts, wrapCommand } from './wrap-command.ts';

const facts: WrapFacts = {
  parentPid: 77,
  isMainThread: true,
  locate: (tool) => `/usr/bin/${tool}`,
  planJoin: (procs) => ({ thread: `${procs}:thread`, process: procs }),
  statusFd: 4,
};
const program = { command: '/usr/bin/qemu', args: ['-name', '$(reboot); `x`'] };

/** The chain without the text of its scripts. */
function chainOf(setup: ChildSetup, overrides: Partial<WrapFacts> = {}): string[] {
  const { command, args } = wrapCommand(program, setup, { ...facts, ...overrides });
  return [command, ...args].map((word) => (word.includes('exec "$@"') ? 'SCRIPT' : word.replace('/usr/bin/', '')));
}

const LAST = (parent: string): string[] => ['sh', '-c', 'SCRIPT', 'nestling-exec', parent, 'qemu', ...program.args];

test.each<[string, ChildSetup, string[]]>([
  ['dieWithParent', { dieWithParent: true }, ['setpriv', '--pdeathsig', 'KILL', '--']],
  ['affinity', { affinity: [0, 3] }, ['taskset', '--cpu-list', '0,3']],
  ['nice', { nice: -5 }, ['nice', '-n', '-5']],
  ['user', { user: 64, group: 65 }, ['setpriv', '--regid', '65', '--reuid', '64', '--clear-groups', '--']],
  ['groups', { user: 64, supplementaryGroups: [1, 2] }, ['setpriv', '--reuid', '64', '--groups', '1,2', '--']],
  [
    'capabilities',
    { clearCapabilities: true, dieWithParent: true },
    ['setpriv', '--inh-caps=-all', '--bounding-set=-all', '--pdeathsig', 'KILL', '--'],
  ],
  [
    'limits',
    { limits: { nofile: 1024, memlock: { soft: 0, hard: 'unlimited' } } },
    ['prlimit', '--nofile=1024:1024', '--memlock=0:unlimited'],
  ],
  ['oom', { oomScoreAdj: 300, nice: 1 }, ['sh', '-c', 'SCRIPT', 'nestling-prepare', '300', '0', 'nice', '-n', '1']],
  [
    'cgroups',
    { cgroupProcs: ['/a b', '/c'], user: 0 },
    [
      'sh',
      '-c',
      'SCRIPT',
      'nestling-prepare',
      '',
      '2',
      '/a b:thread',
      '/a b',
      '/c:thread',
      '/c',
      'setpriv',
      '--reuid',
      '0',
      '--clear-groups',
      '--',
    ],
  ],
])('the link for %s', (_, setup, link) => {
  expect(needsWrapper(setup)).toBe(true);
  expect(chainOf(setup)).toEqual([...link, ...LAST(setup.dieWithParent === true ? '77' : '')]);
});

test('security labels are the last that is written, and words of a script never', () => {
  const { args } = wrapCommand(program, { execLabels: [{ file: '/attr', label: 'a:b' }] }, facts);
  expect(args.slice(2)).toEqual(['nestling-exec', '', '1', '/attr', 'a:b', program.command, ...program.args]);
  expect(args[1]).not.toMatch(/attr|a:b/);
});

test('privileged links come before the user changes, the signal after it, the check last', () => {
  const chain = chainOf({
    dieWithParent: true,
    affinity: [1],
    nice: 1,
    user: 64,
    group: 64,
    limits: { core: 0 },
    cgroupProcs: ['/c'],
    oomScoreAdj: 1,
  });
  const tools = [
    'nestling-prepare',
    'prlimit',
    'taskset',
    'nice',
    'setpriv',
    '--reuid',
    '--pdeathsig',
    'nestling-exec',
    'qemu',
  ];
  expect(tools.map((tool) => chain.indexOf(tool)).every((place, i, all) => place > (all[i - 1] ?? -1))).toBe(true);
});

test('one shell does it all where no privilege is given up before its end', () => {
  const chain = chainOf({ dieWithParent: true, cgroupProcs: ['/a', '/b'], oomScoreAdj: 1 });
  expect(chain.slice(0, 7)).toEqual(['setpriv', '--pdeathsig', 'KILL', '--', 'sh', '-c', 'SCRIPT']);
  expect(chain.slice(7)).toEqual([
    'nestling-exec',
    '1',
    '2',
    '/a:thread',
    '/a',
    '/b:thread',
    '/b',
    '77',
    'qemu',
    ...program.args,
  ]);
});

test('nothing asked for needs no wrapper', () => {
  expect(needsWrapper({})).toBe(false);
  expect(needsWrapper({ affinity: [], nice: 0, cgroupProcs: [], limits: {}, dieWithParent: false })).toBe(false);
});

test('no text of the caller ever reaches a script', () => {
  const { command, args } = wrapCommand(
    program,
    { cgroupProcs: ['$(evil)'], limits: { core: 0 }, dieWithParent: true },
    facts,
  );
  for (const script of [command, ...args].filter((word) => word.includes('exec "$@"'))) {
    expect(script).not.toMatch(/evil|reboot|qemu|77/);
  }
});

test('the parent-death signal is refused in a worker thread, where it would come too early', () => {
  const worker = { ...facts, isMainThread: false };
  expect(() => wrapCommand(program, { dieWithParent: true }, worker)).toThrow(ProcessError);
  expect(() => wrapCommand(program, { dieWithParent: true }, worker)).toThrow('start it from the main thread');
  expect(() => wrapCommand(program, { nice: 1 }, worker)).not.toThrow();
});

test('only the tools in use are looked for', () => {
  const asked: string[] = [];
  const locate = (tool: string): string => {
    asked.push(tool);
    return tool;
  };
  wrapCommand(program, { dieWithParent: true }, { ...facts, locate });
  expect(asked.toSorted()).toEqual(['setpriv', 'sh']);
});
