/**
 * Runs inside the v2 guest, mostly in a box (see v2-box.sh): the ways to a guest's group in a container without systemd. libvirt's own way
 * and the folk remedy are plain writes of files; ours is `src/cgroup`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import {
  applyActions,
  type CgroupPlace,
  detectCgroups,
  formatActions,
  freeze,
  killAll,
  planGroup,
  planPrepare,
  planTuning,
  prepare,
  readStats,
  readTuning,
  thaw,
} from '../../src/cgroup/index.ts';
import { attempt, make, messageOf, ROOT, read, runIn, runScenario, stage, startSleeper } from './cgroup-v2-groups.ts';

const GUEST = 'machine/qemu-1-web.libvirt-qemu';
/** In libvirt's order. */
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'io'];

await runScenario({
  /** 1: what libvirt does, and the errors as ours would say them. */
  'libvirt-way': async () => {
    await using qemu = await startSleeper();
    const start = stage();
    const writes = startLikeLibvirt(qemu.pid);
    const errors = {
      memory: messageOf(() => applyActions([control('+memory')])),
      join: messageOf(() => applyActions([write(`${ROOT}/${GUEST}`, 'cgroup.procs', String(qemu.pid))])),
    };
    return { start, ...writes, after: stage(), errors };
  },

  /** 2 and 5: the remedy works without a controller; ours works with them. */
  remedy: async () => {
    await using helper = await startSleeper();
    await using qemu = await startSleeper();
    make('helper');
    attempt('helper/cgroup.procs', String(helper.pid));
    const writes = startLikeLibvirt(qemu.pid);
    const controllers = read(`${GUEST}/cgroup.controllers`);
    // QEMU is where libvirt wants it, with nothing to limit it.
    return { ...writes, controllers, ours: await startOurWay() };
  },

  /** 3: once a start has failed the remedy does not help, until the threaded controllers are off again. */
  'remedy-too-late': async () => {
    await using helper = await startSleeper();
    await using qemu = await startSleeper();
    const first = startLikeLibvirt(qemu.pid);
    make('helper');
    const helperJoins = attempt('helper/cgroup.procs', String(helper.pid));
    const second = startLikeLibvirt(qemu.pid);
    const off = ['-cpu', '-cpuset'].map((value) => attempt('cgroup.subtree_control', value));
    const type = read('cgroup.type');
    attempt('helper/cgroup.procs', String(helper.pid));
    return { first: first.join, helperJoins, second: second.join, off, type, third: startLikeLibvirt(qemu.pid) };
  },

  /** 3: ours repairs what a failed start has left. */
  repair: async () => {
    await using qemu = await startSleeper();
    const { join } = startLikeLibvirt(qemu.pid);
    return { join, ours: await startOurWay() };
  },

  /** 4: the remedy's process has ended meanwhile. */
  'helper-died': async () => {
    await using qemu = await startSleeper();
    {
      await using helper = await startSleeper();
      make('helper');
      attempt('helper/cgroup.procs', String(helper.pid));
    }
    const writes = startLikeLibvirt(qemu.pid);
    return { ...writes, ours: await startOurWay() };
  },

  /** 6: the hierarchy's real root, outside of any box. */
  'real-root': async () => {
    for (const name of CONTROLLERS) attempt('cgroup.subtree_control', `-${name}`);
    const start = stage();
    const plan = planPrepare(detectCgroups());
    prepare(plan);
    const after = stage();
    await using qemu = await startSleeper();
    const writes = startLikeLibvirt(qemu.pid);
    const controllers = read(`${GUEST}/cgroup.controllers`);
    await qemu.terminate({ graceMs: 0 });
    applyActions([{ kind: 'rmdir', directory: `${ROOT}/machine` }]);
    return { start, kinds: plan.actions.map(({ kind }) => kind), after, ...writes, controllers };
  },

  /** 7: somebody else's process is in the root, and we were not told to move it. */
  'not-asked': async () => {
    const host = detectCgroups();
    const plan = planPrepare(host);
    const carriedOut = messageOf(() => prepare(plan));
    const group = planGroup({ ...request('qemu-1-web.libvirt-qemu'), host, demanded: [] });
    const limited = messageOf(() => planGroup({ ...request('x'), host, demanded: ['memory'] }));
    const tuned = messageOf(() => planTuning(group.place, { memory: { hardLimitKiB: 1024 } }));
    applyActions(group.actions);
    const used = await useWithoutControllers(group.place);
    applyActions([{ kind: 'rmdir', directory: group.place.v2?.directory ?? '' }]);
    const refusals = plan.refusals.map(({ message }) => message);
    return { refusals, actions: plan.actions, carriedOut, notes: group.notes, limited, tuned, ...used, after: stage() };
  },

  /** 8: after moving into a child that has controllers, a namespace of one's own begins there. */
  nested: async () => {
    prepare(planPrepare(detectCgroups(), { moveForeign: true }));
    make('inner');
    const enter =
      'echo 0 > /sys/fs/cgroup/inner/cgroup.procs && exec /usr/bin/unshare --cgroup --mount sh -c "umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec node $0 own"';
    const output = execFileSync('sh', ['-c', enter, process.argv[1] ?? ''], { encoding: 'utf8' });
    const inner: unknown = JSON.parse(output);
    return { inner, outerType: read('cgroup.type'), innerGroups: read('inner/cgroup.stat') };
  },

  /** Nobody else's processes are in the way: nothing has to be asked for. */
  own: async () => {
    const start = stage();
    return { start, ours: await startOurWay({ moveForeign: false }) };
  },

  /** What was done is taken back, and what is done already is not done again. */
  undo: () => {
    const start = rootState();
    const plan = planPrepare(detectCgroups(), { moveForeign: true });
    prepare(plan);
    const prepared = rootState();
    const again = planPrepare(detectCgroups(), { moveForeign: true }).actions.length;
    applyActions(plan.undo);
    return {
      printed: formatActions(plan.actions),
      start,
      prepared,
      again,
      undone: rootState(),
      leaf: existsSync(`${ROOT}/init.scope`),
    };
  },

  /** The same after a failed start: what was there comes back, threaded as it was. */
  'undo-repair': async () => {
    await using qemu = await startSleeper();
    startLikeLibvirt(qemu.pid);
    const start = rootState();
    const plan = planPrepare(detectCgroups(), { moveForeign: true });
    prepare(plan);
    const prepared = rootState();
    applyActions(plan.undo);
    return { notes: plan.notes, start, prepared, undone: rootState() };
  },

  /** A user's own container: the group is the user's, who is not root. */
  rootless: async () => {
    const start = stage();
    return { start, uid: process.getuid?.(), ours: await startOurWay({ moveForeign: false }) };
  },

  /** The hierarchy as many containers get it. */
  'read-only': () => {
    execFileSync('mount', ['-o', 'remount,bind,ro', ROOT]);
    const host = detectCgroups();
    const [hierarchy] = host.hierarchies;
    const plan = planPrepare(host, { moveForeign: true });
    return {
      readOnly: hierarchy?.readOnly,
      writable: hierarchy?.writable,
      refusals: plan.refusals.map(({ message }) => message),
      make: messageOf(() => applyActions([{ kind: 'mkdir', directory: `${ROOT}/x` }])),
    };
  },
});

function control(value: string) {
  return write(ROOT, 'cgroup.subtree_control', value);
}

function write(directory: string, file: string, value: string) {
  return { kind: 'write', directory, file, value } as const;
}

/** libvirt without systemd: the group for all guests, controllers one by one, the guest's group, QEMU into it. */
function startLikeLibvirt(pid: number) {
  make('machine');
  const enable = Object.fromEntries(
    CONTROLLERS.map((name) => [name, attempt('cgroup.subtree_control', `+${name}`)] as const),
  );
  for (const name of CONTROLLERS) attempt('machine/cgroup.subtree_control', `+${name}`);
  make(GUEST);
  const join = attempt(`${GUEST}/cgroup.procs`, String(pid));
  const typeOf = (group: string): string | undefined => {
    const type = messageOf(() => read(`${group}cgroup.type`));
    return type === 'done' ? read(`${group}cgroup.type`) : undefined;
  };
  return { enable, types: { root: typeOf(''), machine: typeOf('machine/'), guest: typeOf(`${GUEST}/`) }, join };
}

function request(name: string) {
  return { base: 'own', names: [name], makeAbove: () => true, wanted: ['cpu', 'memory', 'io', 'pids'] } as const;
}

/** Prepares, makes a guest's group with limits, and puts a process into it. */
async function startOurWay({ moveForeign = true } = {}) {
  const plan = planPrepare(detectCgroups(), { moveForeign });
  prepare(plan);
  const host = detectCgroups();
  const demanded = ['cpu', 'memory', 'io', 'pids'];
  const { place, actions } = planGroup({ ...request('qemu-2-ours.libvirt-qemu'), host, demanded });
  applyActions(actions);
  applyActions(planTuning(place, { memory: { hardLimitKiB: 65_536 }, cpu: { quotaUs: 50_000 }, pids: { max: 10 } }));
  const { stdout } = await runIn(place, 'cat /proc/self/cgroup');
  const { memory, cpu, pids } = readTuning(place);
  const [group = ''] = [place.v2?.directory];
  const controllers = readFileSync(`${group}/cgroup.controllers`, 'utf8').trim();
  applyActions([{ kind: 'rmdir', directory: group }]);
  const self = readFileSync('/proc/self/cgroup', 'utf8').trim();
  return { controllers, memory, cpu, pids, child: stdout.trim(), self, root: rootState() };
}

function rootState() {
  return { type: read('cgroup.type'), enabled: read('cgroup.subtree_control'), processes: read('cgroup.procs') };
}

async function useWithoutControllers(place: CgroupPlace) {
  const group = place.v2?.directory ?? '';
  const relative = group.slice(ROOT.length + 1);
  await using child = await startSleeper(relative);
  await freeze(place);
  const frozen = read(`${relative}/cgroup.events`);
  await thaw(place);
  const stats = readStats(place);
  await killAll(place);
  const { signal } = await child.exited;
  return { frozen, hasCpuTime: stats.cpuUsageNs !== undefined, memory: stats.memoryUsageKiB ?? null, signal };
}
