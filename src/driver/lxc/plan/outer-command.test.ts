import { describe, expect, it } from 'vitest';
import { type OuterCommandInput, planOuterCommand, readRuntimePlace } from './outer-command.ts';

const INPUT: OuterCommandInput = {
  runtime: '/usr/bin/crun',
  id: 'c7',
  stateDir: '/run/box/state',
  bundle: '/run/box/bundle',
  consoleSocket: '/run/box/console',
  pidFile: '/run/box/pid',
  prepared: [],
  root: '/run/box/bundle/rootfs',
  mountPlace: (index) => `/run/box/mount${index}`,
  privateNetwork: false,
};
const MONITOR = {
  program: '/usr/bin/conmon',
  socketDir: '/run/box',
  exitDir: '/run/box/exit',
  consoleLog: '/run/box/console.log',
  consoleLogBytes: 4096,
};

/** What the shell executes at last; conmon's own name comes behind `env` and a variable. */
function innerWords(input: OuterCommandInput): string[] {
  const words = (planOuterCommand(input).args.at(-1) ?? '').split(' && ').at(-1)?.split(' ').slice(1) ?? [];
  return words[0] === 'env' ? words.slice(2) : words;
}

describe('where the runtime of a container keeps it', () => {
  it.each([
    ['in the foreground', INPUT],
    ['under conmon', { ...INPUT, monitor: MONITOR }],
  ])('is read from the command line that was planned, %s', (_, input) => {
    expect(readRuntimePlace(innerWords(input))).toEqual({
      runtime: '/usr/bin/crun',
      stateDir: '/run/box/state',
      id: 'c7',
    });
  });

  it('is the same behind a namespace of users, which its words come after', () => {
    const { command, args } = planOuterCommand({ ...INPUT, unprivileged: true });
    const plain = planOuterCommand(INPUT);
    expect([command, ...args.slice(0, 2)]).toEqual(['unshare', '--user', '--keep-caps']);
    expect(args.slice(args.lastIndexOf('unshare'))).toEqual([plain.command, ...plain.args]);
    // Whoever has nothing else to do in there needs its descriptor no more.
    expect(args[5]).toMatch(/3>&-$/);
    expect(planOuterCommand({ ...INPUT, unprivileged: true, privateNetwork: true }).args[5]).toMatch(/"\$@"$/);
  });

  it.each([
    ['nothing', []],
    ['a shell', ['sh', '-c', 'crun --root /x run']],
    ['a cut one', ['conmon', '--cid', 'c7', '--runtime-arg']],
  ])('%s has none', (_, words) => {
    expect(readRuntimePlace(words)).toBeUndefined();
  });
});
