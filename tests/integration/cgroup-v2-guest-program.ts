/** Runs inside the v2 guest: starts guests of its own with limits, as a program in a container would, and tells what the kernel says of them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { detectCgroups, planPrepare, prepare } from '../../src/cgroup/index.ts';
import { connect } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { messageOf, ROOT, read, runScenario } from './cgroup-v2-groups.ts';

const LIMITS = `<memtune><hard_limit unit='MiB'>300</hard_limit></memtune>
  <cputune><shares>50</shares><period>100000</period><quota>40000</quota><emulator_quota>80000</emulator_quota></cputune>`;
const FILES = ['memory.max', 'cpu.weight', 'cpu.max', 'cgroup.type', 'cgroup.procs', 'cgroup.threads'];

await runScenario({
  /** With limits, where nothing is prepared and somebody else's process is in the way. */
  refused: async () => {
    await using connection = await connect('qemu:///embed');
    const error = await connection.createDomain(xml('refused')).then(
      () => 'started',
      (reason: unknown) => String(reason),
    );
    await using free = await connection.createDomain(xml('free', ''));
    return { error, free: await free.isActive(), groups: readGroups('') };
  },
  inherit: () => startIn('inherit'),
  machine: () => startIn('machine'),

  /** The program is killed: QEMU goes with it, its groups stay, the next program removes them. */
  crash: async () => {
    prepare(planPrepare(detectCgroups(), { moveForeign: true }));
    const victim = spawn(process.execPath, [process.argv[1] ?? '', 'victim'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const group = JSON.parse(String((await once(victim.stdout, 'data'))[0])) as string;
    victim.kill('SIGKILL');
    await once(victim, 'close');
    await untilEmpty(group);
    const left = readGroups(`${group}/`);
    await using _next = await connect('qemu:///embed');
    return { left, isGone: !existsSync(`${ROOT}/${group}`) };
  },
  victim: async () => {
    const connection = await connect('qemu:///embed');
    await connection.createDomain(xml('victim'));
    process.stdout.write(JSON.stringify(groupOf('victim')));
    await new Promise((_resolve) => setInterval(() => {}, 60_000));
  },
});

/** The kernel ends QEMU with its program, a moment later. */
async function untilEmpty(group: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!read(`${group}/cgroup.events`).includes('populated 0')) {
    if (Date.now() > deadline) throw new Error(`${group} still has processes`);
    await pause(5);
  }
}

async function startIn(cgroupLayout: 'inherit' | 'machine') {
  prepare(planPrepare(detectCgroups(), { moveForeign: true }));
  const above = cgroupLayout === 'machine' ? 'machine/' : '';
  const notes: string[] = [];
  await using connection = await connect('qemu:///embed', {
    config: { cgroupLayout },
    onNote: (note) => notes.push(note),
  });
  await using guest = await connection.createDomain(xml('limited'));
  await guest.console().waitFor('nestling guest: halt');
  const group = `${above}${groupOf('limited', above)}`;
  const cpus = (await guest.qemuMonitorCommand('query-cpus-fast')) as { 'thread-id': number }[];
  const groups = Object.fromEntries(readGroups(`${group}/`).map((name) => [name, filesOf(`${group}/${name}`)]));
  const before = { group: filesOf(group), groups };
  await guest.setMemoryParameters({ hard_limit: 400 * 1024 });
  await guest.setSchedulerParameters({ vcpu_quota: 30_000 });
  const changed = [read(`${group}/memory.max`), read(`${group}/vcpu0/cpu.max`)];
  const stats = await guest.stats();
  await guest.destroy();
  return {
    ...before,
    vcpuThreads: cpus.map((cpu) => cpu['thread-id']),
    changed,
    memoryKiB: stats['cgroup.memory.usage'],
    isGone: !existsSync(`${ROOT}/${group}`),
    notes,
  };
}

function xml(name: string, limits = LIMITS): string {
  const text = domainXml({ name, vcpus: 2, memoryMiB: 16, disks: [{ path: '/programs/halt.img', readonly: true }] });
  return text.replace('</vcpu>', `</vcpu>${limits}`);
}

/** The group of the program's first guest; between driver and id its name tells the root of the embedded driver. */
function groupOf(name: string, above = ''): string {
  const found = readGroups(above).find((group) => group.endsWith(`-1-${name}.libvirt-qemu`));
  if (found === undefined) throw new Error(`no group of guest ${name}: ${readGroups(above).join(', ')}`);
  return found;
}

function readGroups(above: string): string[] {
  return readdirSync(`${ROOT}/${above}`, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .toSorted();
}

function filesOf(group: string): Record<string, string> {
  return Object.fromEntries(
    FILES.flatMap((file) => {
      const isThere = existsSync(`${ROOT}/${group}/${file}`);
      // The processes of a threaded group are not to be had.
      return isThere && messageOf(() => read(`${group}/${file}`)) === 'done' ? [[file, read(`${group}/${file}`)]] : [];
    }),
  );
}
