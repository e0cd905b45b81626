import { describe, expect, it } from 'vitest';
import {
  type OuterCommandInput,
  planNursery,
  planNurseryCommand,
  planOuterCommand,
  readRuntimePlace,
} from './outer-command.ts';

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

  it('is named alone where it is a copy of the nursery’s', () => {
    const words = innerWords({ ...INPUT, runtime: '/run/box/runc', monitor: MONITOR });
    expect(readRuntimePlace(words)?.runtime).toBe('runc');
  });

  it('has the options of its kind', () => {
    expect(innerWords(INPUT)[1]).toBe('--cgroup-manager=disabled');
    const words = innerWords({ ...INPUT, runtime: '/usr/sbin/runc' });
    expect(words.join(' ')).toMatch(/^\/usr\/sbin\/runc --log \/dev\/null --root \/run\/box\/state run /);
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
    expect(steps).toMatch(
      /&&\nexport _OCI_SYNCPIPE=4 TMPDIR=\/run\/box &&\ncd \/run\/box &&\nexec \/usr\/bin\/conmon --sync /,
    );
  });

  it('waits again where it has a network to be filled', () => {
    const { args, steps } = planOuterCommand({ ...INPUT, privateNetwork: true });
    expect(args).toContain('--net');
    expect(steps).toMatch(/echo ready >&3 &&\nread -r go <&3 &&\nexec 3>&-/);
  });
});

describe('what a nursery is asked for', () => {
  const PLAIN = {
    command: '/usr/bin/crun',
    namespaces: ['pid', 'mount'],
    mounts: [{ type: 'proc', target: '/proc' }],
    keepsGate: false,
    link: { path: '/run/box/bundle/rootfs/dev' },
  };

  it('is the runtime itself where nothing but the simplest is to be mounted', () => {
    const { args, ...rest } = planNurseryCommand(INPUT);
    expect(rest).toMatchObject(PLAIN);
    expect([PLAIN.command, ...args]).toEqual(innerWords(INPUT));
    const { mounts } = planNurseryCommand({ ...INPUT, hiddenCgroup: '/sys/fs/cgroup/unified' });
    expect(mounts).toEqual([...PLAIN.mounts, { type: 'tmpfs', target: '/sys/fs/cgroup/unified' }]);
  });

  it.each<[string, Partial<OuterCommandInput>, RegExp]>([
    [
      'mounts of its own',
      { prepared: [{ kind: 'loop', source: '/x.img', readonly: true, at: 'root' }] },
      /^mount -o loop,nodev,ro \/x\.img .* && \{ \[ ! -L .* exec \S*crun /,
    ],
    [
      'a place for mapped users',
      { open: '/proc/sys/fs/binfmt_misc' },
      /^mount -t tmpfs -o mode=755 .* && cp .* exec \S*crun /,
    ],
  ])('is a shell that ends as the runtime, with %s', (_, more, script) => {
    const { command, args, link } = planNurseryCommand({ ...INPUT, ...more });
    expect([command, args[0], link]).toEqual(['sh', '-c', undefined]);
    expect(args[1]).toMatch(script);
  });

  it('has a network of its own where that is to be filled', () => {
    expect(planNurseryCommand({ ...INPUT, privateNetwork: true }).namespaces).toEqual(['pid', 'mount', 'net']);
  });

  it('is the monitor, which tells at the gate what comes of it', () => {
    const { command, args, variables, keepsGate } = planNurseryCommand({ ...INPUT, monitor: MONITOR });
    expect([command, ...args]).toEqual(innerWords({ ...INPUT, monitor: MONITOR }));
    expect({ variables, keepsGate }).toEqual({
      variables: { _OCI_SYNCPIPE: '3', TMPDIR: '/run/box' },
      keepsGate: true,
    });
  });

  it('looks at shared namespaces in the /proc of the host, and has its own after that', () => {
    const sharedNamespaces = [{ source: '/proc/7/ns/net', at: '/run/box/ns-net' }];
    const { args, mounts } = planNurseryCommand({ ...INPUT, sharedNamespaces });
    expect(mounts).toEqual([]);
    expect(args[1]).toMatch(/mount --bind \/proc\/7\/ns\/net \/run\/box\/ns-net && mount -t proc proc \/proc && /);
  });

  it('comes out of one that the kernel ends with all below it, for users in a namespace of theirs', () => {
    const ended = ['--pid', '--fork', '--kill-child', '--'];
    expect(planNursery({ unprivileged: false, outlived: false })).toEqual({ command: 'unshare', args: ended });
    const args = planNursery({ unprivileged: true, outlived: false })?.args ?? [];
    expect(args.slice(0, 2)).toEqual(['--user', '--keep-caps']);
    expect(args[5]).toMatch(/exec "\$@" 3>&-$/);
    expect(args.slice(-5)).toEqual(['unshare', ...ended]);
  });

  it('comes out of one with nothing around it but a namespace of users, where it goes on without it', () => {
    expect(planNursery({ unprivileged: false, outlived: true })).toBeUndefined();
    const args = planNursery({ unprivileged: true, outlived: true })?.args ?? [];
    expect(args.join(' ')).toMatch(/^--user --keep-caps -- sh -c .* sh$/s);
  });
});
