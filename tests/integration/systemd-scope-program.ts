/** Runs inside the systemd guest: scopes, slices and a guest with `cgroup_layout = "systemd"`, with systemd's own commands asked what it knows. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  createScope,
  openPartitions,
  type PartitionInfo,
  Systemd,
  setUnitProperties,
  stopScope,
  unitProperties,
} from '../../src/cgroup/index.ts';
import { connect } from '../../src/index.ts';
import { listDescendants } from '../../src/process/proc.ts';
import { spawnChild } from '../../src/process/spawn.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { attempt, messageOfAsync, read, runScenario, startSleeper } from './cgroup-v2-groups.ts';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';

/** An ordinary user asks the user's own systemd. */
const MANAGER = process.geteuid?.() === 0 ? [] : ['--user'];

await runScenario({
  /** One scope from its creation to its end; whether machined has a part in it is the host's business. */
  scope: async () => {
    await using child = await startSleeper();
    await using systemd = await Systemd.open();
    const limits = { memory: { hardLimitKiB: 32 * 1024 }, cpu: { shares: 50 } };
    const properties = unitProperties(limits, { version: 2, unit: 'x' }).map(({ property }) => property);
    const scope = await createScope(systemd, {
      machine: 'qemu-1-web',
      driver: 'qemu',
      uuid: UUID,
      pid: child.pid,
      slice: 'machine-testing.slice',
      properties,
    });
    const seen = {
      scope,
      cgroup: groupOf(child.pid),
      shown: show(scope.unit, ['Slice', 'MemoryMax', 'CPUWeight', 'Delegate', 'TasksMax', 'Description']),
      memoryMax: read(`${scope.controlGroup.slice(1)}/memory.max`),
      listed: listed(scope.unit),
      machines: machines(),
    };
    const lifted = unitProperties({ memory: { hardLimitKiB: 16 * 1024 } }, { version: 2, unit: 'x' });
    await setUnitProperties(
      systemd,
      scope.unit,
      lifted.map(({ property }) => property),
    );
    const changed = read(`${scope.controlGroup.slice(1)}/memory.max`);
    // What systemd reads anew it keeps.
    run('systemctl', ...MANAGER, 'daemon-reload');
    const reloaded = read(`${scope.controlGroup.slice(1)}/memory.max`);
    const again = await messageOfAsync(async () => {
      await createScope(systemd, { machine: 'qemu-1-web', driver: 'qemu', pid: child.pid, slice: 'machine.slice' });
    });
    await stopScope(systemd, scope);
    const { signal } = await child.exited;
    await stopScope(systemd, scope);
    return { ...seen, changed, reloaded, again, signal, left: { listed: listed(scope.unit), machines: machines() } };
  },

  /** A process that ends takes its scope along, without anybody's help. */
  ended: async () => {
    await using child = await startSleeper();
    await using systemd = await Systemd.open();
    const scope = await createScope(systemd, {
      machine: 'qemu-2-short',
      driver: 'qemu',
      pid: child.pid,
      slice: 'machine.slice',
    });
    await child.terminate({ graceMs: 0 });
    await stopScope(systemd, scope);
    return { listed: listed(scope.unit), machines: machines() };
  },

  /** Memory that a slice does not have for its guests. */
  partition: async () => {
    await using partitions = await openPartitions();
    await partitions.create('/production/my-web', { memory: { hardLimitKiB: 64 * 1024 }, pids: { max: 50 } });
    const slice = 'production-my\\x2dweb.slice';
    const shown = show(slice, ['MemoryMax', 'TasksMax', 'ActiveState']);
    await partitions.set('/production/my-web', { cpu: { quotaUs: 50_000, periodUs: 100_000 } });
    const tree = withoutUsage(await partitions.read('/production'));
    await using child = await spawnChild({
      command: 'sh',
      // dd waits until it is in the scope.
      args: ['-c', 'read -r go; exec dd if=/dev/zero of=/dev/null bs=96M count=1'],
      stdio: ['pipe', 'ignore', 'tail'],
    });
    await using systemd = await Systemd.open();
    const scope = await createScope(systemd, { machine: 'qemu-3-big', driver: 'qemu', pid: child.pid, slice });
    const busy = await messageOfAsync(async () => await partitions.remove('/production/my-web'));
    const guests = (await partitions.read('/production/my-web')).guests;
    child.writable(0).write('go\n');
    const { signal } = await child.exited;
    await stopScope(systemd, scope);
    const cpuMax = read('production.slice/production-my\\x2dweb.slice/cpu.max');
    await partitions.remove('/production/my-web');
    await partitions.remove('/production');
    const gone = await messageOfAsync(async () => await partitions.remove('/production'));
    // Of the limits nothing is left for the next one of that name.
    await partitions.create('/production/my-web', {});
    const fresh = show(slice, ['MemoryMax']);
    await partitions.remove('/production/my-web');
    await partitions.remove('/production');
    const left = (await partitions.list()).map(({ partition }) => partition);
    return { shown, tree, busy, guests, signal, cpuMax, gone, fresh, left };
  },

  /** A guest of Nestling's: its scope while it lives, and nothing afterwards. */
  guest: async () => {
    const before = listed('machine-qemu*');
    await using connection = await connect('qemu:///embed', { config: { cgroupLayout: 'systemd' } });
    const xml = domainXml({
      name: 'web',
      memoryMiB: 16,
      vcpus: 2,
      disks: [{ path: '/programs/halt.img', readonly: true }],
      extra:
        "<resource><partition>/machine/testing</partition></resource><memtune><hard_limit unit='MiB'>512</hard_limit></memtune>" +
        "<cputune><shares>70</shares><quota>20000</quota><vcpupin vcpu='1' cpuset='1'/></cputune>",
    });
    let seen: Record<string, unknown>;
    {
      await using domain = await connection.createDomain(xml);
      const [qemu] = listDescendants(process.pid).filter(({ comm }) => comm.startsWith('qemu-system'));
      if (qemu === undefined) throw new Error('there is no QEMU below this program');
      const unit = listed('machine-qemu*');
      const path = groupOf(qemu.pid)
        .replace(/\/libvirt\/.*/, '')
        .slice(1);
      await domain.setMemoryParameters({ hard_limit: 400 * 1024 });
      const changed = read(`${path}/memory.max`);
      await domain.setMemoryParameters({ hard_limit: 9_007_199_254_740_991 });
      seen = {
        unit,
        cgroup: groupOf(qemu.pid),
        threads: [...new Set(readdirSync(`/proc/${qemu.pid}/task`).map((tid) => groupOf(`${qemu.pid}/task/${tid}`)))],
        shown: show(unit, ['Slice', 'CPUWeight', 'Delegate']),
        memory: [changed, read(`${path}/memory.max`)],
        vcpu: read(`${path}/libvirt/vcpu1/cpu.max`),
        pins: read(`${path}/libvirt/vcpu1/cpuset.cpus`),
        own: attempt(`${path}/cgroup.procs`, ''),
        parameters: await domain.schedulerParameters(),
        machines: machines(),
      };
    }
    await connection.close();
    return { before, ...seen, after: listed('machine-qemu*'), machinesAfter: machines() };
  },

  /** What is left of a guest whose program was killed: nothing, and nobody had to do anything for it. */
  crash: async () => {
    const holder = await spawnChild({
      command: process.execPath,
      args: [process.argv[1] ?? '', 'hold'],
      stdio: ['ignore', 'pipe', 'tail'],
    });
    let unit = '';
    for await (const chunk of holder.readable(1)) {
      unit = String(chunk).trim();
      break;
    }
    const before = listed('machine-qemu*');
    await holder.terminate({ graceMs: 0 });
    while (listed('machine-qemu*') !== '') await new Promise((resolve) => setTimeout(resolve, 20));
    // The next start finds what the ledger says, and that it is gone.
    const notes: string[] = [];
    await using _connection = await connect('qemu:///embed', { onNote: (note) => notes.push(note) });
    return { isHeld: unit !== '' && unit === before, machines: machines(), notes };
  },

  /** Until it is killed. */
  hold: async () => {
    await using connection = await connect('qemu:///embed', { config: { cgroupLayout: 'systemd' } });
    const disks = [{ path: '/programs/halt.img', readonly: true }];
    await using domain = await connection.createDomain(domainXml({ name: 'held', memoryMiB: 16, disks }));
    process.stdout.write(`${listed('machine-qemu*')}\n`);
    await domain.waitForStop();
  },

  /** A daemon's guest keeps its scope when the daemon is killed; the next one reads, changes and ends it. */
  daemon: async () => {
    mkdirSync('/etc/nestling', { recursive: true });
    writeFileSync('/etc/nestling/qemu.conf', 'cgroup_layout = "systemd"\n');
    const options = { cli: '/programs/main.mjs', prefix: [process.execPath] };
    await using daemon = await startDaemon([], options);
    const first = await connect(daemon.uri);
    const extra = "<memtune><hard_limit unit='MiB'>300</hard_limit></memtune><cputune><quota>20000</quota></cputune>";
    const disks = [{ path: '/programs/halt.img', readonly: true }];
    await first.createDomain(domainXml({ name: 'kept', memoryMiB: 16, disks, extra }));
    const unit = listed('machine-qemu*');
    await first.close();
    await daemon.crash(options);
    await using connection = await connect(daemon.uri);
    const domain = await connection.lookupDomainByName('kept');
    const alone = { unit: listed('machine-qemu*'), shown: show(unit, ['MemoryMax', 'ActiveState']) };
    const { vcpu_quota: quota } = await domain.schedulerParameters();
    await domain.setMemoryParameters({ hard_limit: 200 * 1024 });
    const changed = show(unit, ['MemoryMax']);
    const stats = await domain.stats();
    await domain.destroy();
    rmSync('/etc/nestling', { recursive: true });
    return {
      isKept: unit !== '' && unit === alone.unit,
      shown: alone.shown,
      quota: Number(quota),
      changed,
      isCounted: Number(stats['cgroup.memory.usage']) > 0,
      after: listed('machine-qemu*'),
      machines: machines(),
    };
  },

  /** A partition asks for a slice where systemd manages the groups, whatever the layout. */
  inherit: async () => {
    await using connection = await connect('qemu:///embed');
    const xml = domainXml({
      name: 'part',
      memoryMiB: 16,
      disks: [{ path: '/programs/halt.img', readonly: true }],
      extra: '<resource><partition>/machine/other</partition></resource>',
    });
    await using _domain = await connection.createDomain(xml);
    const [qemu] = listDescendants(process.pid).filter(({ comm }) => comm.startsWith('qemu-system'));
    return { cgroup: groupOf(qemu?.pid ?? 0) };
  },
});

/** What it uses is another number every time. */
function withoutUsage({ usage: _usage, children, ...info }: PartitionInfo): object {
  return { ...info, children: children.map(withoutUsage) };
}

function groupOf(process: number | string): string {
  return readFileSync(`/proc/${process}/cgroup`, 'utf8').trim().replace('0::', '');
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}

function show(unit: string, properties: readonly string[]): Record<string, string> {
  const lines = run('systemctl', ...MANAGER, 'show', unit, ...properties.map((name) => `--property=${name}`)).split(
    '\n',
  );
  return Object.fromEntries(lines.map((line) => [line.split('=')[0] ?? '', line.replace(/^[^=]*=/, '')]));
}

/** Names of units, also of those that failed. */
function listed(pattern: string): string {
  const lines = run('systemctl', ...MANAGER, 'list-units', '--all', '--plain', '--no-legend', '--full', pattern);
  return lines
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name !== '')
    .join(' ');
}

/** What machined knows, when it runs. */
function machines(): string {
  try {
    return run('machinectl', '--no-legend', 'list').replace(/\s+/g, ' ');
  } catch {
    return 'no machined';
  }
}
