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
  stepsFile: '/run/box/steps',
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

/** What the shell executes at last. */
function innerWords(input: OuterCommandInput): string[] {
  return planOuterCommand(input).script.split(' && ').at(-1)?.split(' ').slice(1) ?? [];
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
      bundle: INPUT.bundle,
    });
  });

  it('is the same behind a namespace of users, which its words come after', () => {
    const { command, args } = planOuterCommand({ ...INPUT, unprivileged: true });
    const plain = planOuterCommand(INPUT);
    expect([command, ...args.slice(0, 2)]).toEqual(['unshare', '--user', '--keep-caps']);
    expect(args.slice(args.lastIndexOf('unshare'))).toEqual([plain.command, ...plain.args]);
    expect(args[5]).toMatch(/exec "\$@"$/);
  });

  it.each([
    ['nothing', []],
    ['a shell', ['sh', '-c', 'crun --root /x run']],
    ['a cut one', ['conmon', '--cid', 'c7', '--runtime-arg']],
  ])('%s has none', (_, words) => {
    expect(readRuntimePlace(words)).toBeUndefined();
  });
});

describe('the command around it', () => {
  it('says nothing of the container before it is let go on, and reads the rest from a file', () => {
    const { args, steps } = planOuterCommand({ ...INPUT, hiddenCgroup: '/sys/fs/cgroup/unified' });
    expect(args.slice(-2)).toEqual([
      'mount -t tmpfs tmpfs /sys/fs/cgroup/unified && read -r go <&3 && . "$0"',
      '/run/box/steps',
    ]);
    expect(steps).toMatch(/rootfs\/dev.*exec 3>&- &&\nexec \/usr\/bin\/crun .*run/s);
  });

  it('gives the monitor its variables without a program more', () => {
    const { steps } = planOuterCommand({ ...INPUT, monitor: MONITOR });
    expect(steps).toMatch(/&&\nexport _OCI_SYNCPIPE=4 TMPDIR=\/run\/box &&\nexec \/usr\/bin\/conmon --sync /);
  });

  it('waits again where it has a network to be filled', () => {
    const { args, steps } = planOuterCommand({ ...INPUT, privateNetwork: true });
    expect(args).toContain('--net');
    expect(steps).toMatch(/echo ready >&3 &&\nread -r go <&3 &&\nexec 3>&-/);
  });
});
