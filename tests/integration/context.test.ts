/**
 * An embedded guest lives where its program lives: QEMU's parent is the program, and cgroup in every hierarchy, namespaces, CPU
 * affinity, nice value, limits and root are the program's own, also where the program has unusual ones.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listDescendants } from '../../src/process/proc.ts';
import { bundleScript } from '../support/bundle.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { SlurmCluster } from '../support/slurm.ts';
import { StreamText } from '../support/until.ts';

const NAMESPACES = [
  'cgroup',
  'ipc',
  'mnt',
  'net',
  'pid',
  'pid_for_children',
  'time',
  'time_for_children',
  'user',
  'uts',
];

let scratch: string;
let script: string;
let xml: string;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'context-'));
  script = await bundleScript(new URL('context-program.ts', import.meta.url).pathname);
  xml = join(scratch, 'guest.xml');
  writeFileSync(
    xml,
    domainXml({ name: 'context', vcpus: 2, disks: [{ path: await bootSectorImage('halt'), readonly: true }] }),
  );
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** What a process is surrounded by. Values of `stat` are counted behind the command's closing parenthesis. */
function contextOf(pid: number): Record<string, string> {
  const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
  const status = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(read('status'))?.[1] ?? '';
  const stat = read('stat')
    .replace(/^.*\) /s, '')
    .split(' ');
  return {
    cgroup: read('cgroup'),
    ...Object.fromEntries(NAMESPACES.map((name) => [`ns/${name}`, readlinkSync(`/proc/${pid}/ns/${name}`)])),
    root: readlinkSync(`/proc/${pid}/root`),
    cpus: status('Cpus_allowed_list'),
    memoryNodes: status('Mems_allowed_list'),
    uid: status('Uid'),
    gid: status('Gid'),
    capabilities: status('CapEff'),
    nice: stat[16] ?? '',
    openFiles: /^Max open files\s+(\S+\s+\S+)/m.exec(read('limits'))?.[1] ?? '',
    oomScore: read('oom_score_adj'),
  };
}

/** Runs the program below `prefix` and hands its context, and those of QEMU and of each of QEMU's threads, to `check`. */
async function withGuest(
  prefix: readonly string[],
  check: (program: number, qemu: number) => void,
  options: { env?: NodeJS.ProcessEnv; xml?: string } = {},
): Promise<void> {
  const words = [...prefix, process.execPath, script, options.xml ?? xml];
  const program = spawn(words[0] ?? '', words.slice(1), {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  const closed = once(program, 'close');
  const errors = new StreamText(program.stderr);
  try {
    const { pid } = JSON.parse(await new StreamText(program.stdout).until('\n')) as { pid: number };
    const found = listDescendants(pid).filter(({ comm }) => comm.startsWith('qemu-system'));
    expect(found).toHaveLength(1);
    check(pid, found[0]!.pid);
  } finally {
    program.stdin.end();
    await closed;
  }
  expect([program.exitCode, errors.text]).toEqual([0, '']);
}

function expectSameContext(program: number, qemu: number): void {
  expect(contextOf(qemu)).toEqual(contextOf(program));
  expect(readFileSync(`/proc/${qemu}/status`, 'utf8')).toMatch(new RegExp(`^PPid:\\s*${program}$`, 'm'));
  const { cpus } = contextOf(program);
  for (const thread of readdirSync(`/proc/${qemu}/task`)) {
    expect(readFileSync(`/proc/${qemu}/task/${thread}/status`, 'utf8')).toMatch(
      new RegExp(`^Cpus_allowed_list:\\s*${cpus}$`, 'm'),
    );
    expect(readFileSync(`/proc/${qemu}/task/${thread}/cgroup`, 'utf8')).toBe(contextOf(program)['cgroup']);
  }
}

describe('an embedded guest', () => {
  it('is the child of its program and shares its context', async () => {
    await withGuest([], expectSameContext);
  });

  it('keeps the affinity, the nice value and the limits that the program was given', async () => {
    await withGuest(
      ['taskset', '--cpu-list', '0', 'nice', '-n', '5', 'prlimit', '--nofile=777:888'],
      (program, qemu) => {
        expect(contextOf(program)).toMatchObject({ cpus: '0', nice: String(Math.min(getPriority() + 5, 19)) });
        expectSameContext(program, qemu);
      },
    );
  });

  const hierarchy = writableHierarchy();
  if (hierarchy === undefined) process.stderr.write('\nSKIPPED: no cgroup hierarchy can be written here\n\n');
  it.skipIf(hierarchy === undefined)('stays in the cgroup of its program', async () => {
    const group = join(hierarchy!, `nestling-context-${process.pid}`);
    mkdirSync(group);
    try {
      const enter = ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group];
      await withGuest(enter, (program, qemu) => {
        expect(contextOf(program)['cgroup']).toContain('nestling-context-');
        expectSameContext(program, qemu);
        const members = readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n');
        expect(members).toEqual(expect.arrayContaining([String(program), String(qemu)]));
      });
    } finally {
      rmdirSync(group);
    }
  });

  it.skipIf(process.getuid?.() !== 0)('stays in the namespaces of its program', async () => {
    await withGuest(
      ['unshare', '--uts', '--ipc', '--net', '--mount', '--propagation', 'unchanged'],
      (program, qemu) => {
        expect(contextOf(program)['ns/net']).not.toBe(contextOf(process.pid)['ns/net']);
        expectSameContext(program, qemu);
      },
    );
  });

  it.skipIf(process.getuid?.() !== 0)('stays in a network that ip netns made, and in a user namespace', async () => {
    // Of its own, so that nothing of it is left.
    const netns =
      'mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip netns add context; exec ip netns exec context "$@"';
    await withGuest(['unshare', '--mount', 'sh', '-c', netns, 'sh'], (program, qemu) => {
      expect(contextOf(program)['ns/net']).not.toBe(contextOf(process.pid)['ns/net']);
      expectSameContext(program, qemu);
    });
    await withGuest(['unshare', '--user', '--map-root-user', '--uts'], (program, qemu) => {
      expect(contextOf(program)['ns/user']).not.toBe(contextOf(process.pid)['ns/user']);
      expectSameContext(program, qemu);
    });
  });

  it('has the OOM score that its program was given', async () => {
    await withGuest(['choom', '--adjust', '321', '--'], (program, qemu) => {
      expect(contextOf(program)['oomScore']).toBe('321\n');
      expectSameContext(program, qemu);
    });
  });

  it('is elsewhere where its definition says so, visibly', async () => {
    const pinned = join(scratch, 'pinned.xml');
    const pins = "<cputune><vcpupin vcpu='1' cpuset='0'/><emulatorpin cpuset='1'/></cputune>";
    writeFileSync(pinned, readFileSync(xml, 'utf8').replace('</vcpu>', `</vcpu>${pins}`));
    const check = (program: number, qemu: number): void => {
      const lists = readdirSync(`/proc/${qemu}/task`).map((thread) => {
        return /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`/proc/${qemu}/task/${thread}/status`, 'utf8'))?.[1];
      });
      expect(contextOf(program)['cpus']).toBe('0-1');
      expect(contextOf(qemu)['cpus']).toBe('1');
      expect(lists.filter((list) => list === '0')).toHaveLength(1);
      expect(contextOf(qemu)['cgroup']).toBe(contextOf(program)['cgroup']);
    };
    await withGuest(['taskset', '--cpu-list', '0-1'], check, { xml: pinned });
  });

  const missing = SlurmCluster.missing();
  if (missing.length > 0) {
    if (process.env['CI'] !== undefined) throw new Error(`the test under srun needs ${missing.join(', ')}`);
    process.stderr.write(`\nSKIPPED: a guest under srun: ${missing.join(', ')} not found\n\n`);
  }
  it.skipIf(missing.length > 0)("is part of a cluster's job: on its CPUs, in its session's groups", async () => {
    const folder = mkdtempSync(join(scratch, 'slurm-'));
    await using cluster = await SlurmCluster.start(folder, 26_817);
    const prefix = ['srun', '--cpus-per-task=1', '--cpu-bind=cores', '--mem=0'];
    const check = (program: number, qemu: number): void => {
      expect(contextOf(program)['cpus']).toMatch(/^\d$/);
      expectSameContext(program, qemu);
    };
    await withGuest(prefix, check, { env: { SLURM_CONF: cluster.configuration } });
  });
});

/** A hierarchy where groups can be made, a controller's own (v1) or the unified one. */
function writableHierarchy(): string | undefined {
  const base = '/sys/fs/cgroup';
  const candidates = ['freezer', 'pids', 'unified', ''].map((name) => join(base, name));
  return candidates.find((path) => {
    if (!existsSync(join(path, 'cgroup.procs'))) return false;
    try {
      accessSync(join(path, 'cgroup.procs'), constants.W_OK);
      const probe = join(path, `nestling-probe-${process.pid}`);
      mkdirSync(probe);
      rmdirSync(probe);
      return true;
    } catch {
      // Read-only, or not ours: the next one.
      return false;
    }
  });
}
