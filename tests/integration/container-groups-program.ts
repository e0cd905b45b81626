/**
 * Runs on any Linux with crun: starts containers with limits, embedded or in a daemon, and tells what the kernel's cgroup files say of them. The
 * test runs it on this host, as it is and with v1 alone, and in a guest with v2 alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { detectCgroups, planPrepare, prepare } from '../../src/cgroup/index.ts';
import { type Connection, connect, type Domain, STATE_NAMES } from '../../src/index.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { makeBusyboxRoot } from '../support/busybox-root.ts';
import { HOST_SETTINGS, writeSettings } from '../support/kernel-settings.ts';
import { pollUntil } from '../support/poll.ts';
import { runScenario } from './cgroup-v2-groups.ts';

/** Of both versions; those that are there are told. */
const FILES = ['memory.max', 'memory.limit_in_bytes', 'cpu.max', 'cpu.cfs_quota_us', 'pids.max'];
const LIMITS = `<memory unit='MiB'>64</memory>
  <cputune><period>100000</period><quota>50000</quota></cputune>`;
/** Programs of their own sessions, whose parents are gone: nothing but the group holds them together. */
const lineOf = (mark: string): string =>
  `for i in 1 2 3; do setsid sh -c "setsid sleep ${mark} & sleep ${mark} & exit 0" & done; while :; do echo x >>/tmp/ticks; sleep 0.02; done`;
/** Of this program and of the one that it starts: names of containers, groups and processes bear it, so that other tests' are not taken for ours. */
const RUN = process.argv[4] ?? String(process.pid);
const KINDS = ['box', 'root', 'mapped', 'tame', 'victim', 'kept', 'paused'];
/** What keeps root of a container from changing its own groups: nothing but their place, another user of the host's, no power to mount. */
const HOLDS = {
  root: '',
  mapped: "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>",
  tame: "<features><capabilities policy='default'><sys_admin state='off'/></capabilities></features>",
} as const;

/** What root of a container tries on its own limits, by the groups that it sees and by those that it can mount. */
const ESCAPE = `mkdir -p /tmp/v2; mount -t cgroup2 none /tmp/v2 2>/dev/null
  for name in memory pids cpu devices; do mkdir -p /tmp/v1/$name; mount -t cgroup -o $name none /tmp/v1/$name 2>/dev/null; done
  for top in /sys/fs/cgroup /tmp/v2 /tmp/v1; do
    for name in memory.max memory.limit_in_bytes pids.max cpu.max cpu.cfs_quota_us; do
      for file in $(find $top -name $name 2>/dev/null); do (echo max >$file || echo -1 >$file) 2>/dev/null; done
    done
    for file in $(find $top -name devices.allow 2>/dev/null); do echo a >$file 2>/dev/null; done
    for file in $(find $top -name cgroup.procs 2>/dev/null); do echo $$ >$file 2>/dev/null; done
  done; mkdir -p /tmp/d; mount -t devtmpfs none /tmp/d 2>/dev/null
  (mknod /tmp/d/kmsg c 1 11 || mknod /tmp/kmsg c 1 11) 2>/dev/null
  for node in /tmp/d/kmsg /tmp/kmsg; do (: <$node) 2>/dev/null && echo OPENED $node; done; exit 0`;

await runScenario({
  embedded: () => withRoot((root) => embedded(root)),
  /** Where nothing but the caller is in the namespace's root. */
  prepared: async () => {
    prepare(planPrepare(detectCgroups(), { moveForeign: true }));
    return await withRoot((root) => embedded(root));
  },
  /** Killed in the life of its container: groups, processes, mounts and loop devices go, at the latest with the next start. */
  crash: () =>
    withRoot(async (root) => {
      const victim = spawn(process.execPath, [process.argv[1] ?? '', 'victim', root, RUN], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(victim.stdout, 'data');
      const group = groupsOf('victim');
      victim.kill('SIGKILL');
      await once(victim, 'close');
      await using _next = await connect('lxc:///embed');
      await untilGone('victim');
      return { hadGroups: group.length > 0 };
    }),
  victim: async () => {
    const connection = await connect('lxc:///embed');
    await connection.createDomain(definition('victim', process.argv[3] ?? ''));
    process.stdout.write('up\n');
    await new Promise((_resolve) => setInterval(() => {}, 60_000));
  },
  /** By our daemon, which is killed meanwhile. */
  daemon: () => withRoot((root) => inDaemon(root, process.argv[3] ?? '')),
});

async function withRoot<T>(use: (root: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'nt-groups-'));
  try {
    return await use(makeBusyboxRoot(folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function definition(kind: string, root: string, rest = ''): string {
  return `<domain type='lxc'><name>${kind}-${RUN}</name>${LIMITS}${rest}
    <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg><![CDATA[${lineOf(markOf(kind))}]]></initarg></os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`;
}

async function embedded(root: string): Promise<unknown> {
  const { mode } = detectCgroups();
  const notes: string[] = [];
  await using connection = await connect('lxc:///embed', { onNote: (note) => notes.push(note) });
  const seen = await look(connection, root);
  return { mode, ...seen, notes };
}

async function look(connection: Connection, root: string): Promise<Record<string, unknown>> {
  const box = await connection.createDomain(definition('box', root));
  await untilTicks(root, 0);
  const limits = limitsOf('box');
  const device = await useDevice(box);
  const suspended = await frozen(box, root);
  await box.destroy();
  await untilGone('box');
  const held: Record<string, unknown> = {};
  for (const [how, rest] of Object.entries(HOLDS)) {
    const domain = await connection.createDomain(definition(how, root, rest));
    const said = async (line: string): Promise<string> => String((await domain.exec(['sh', '-c', line])).stdout).trim();
    held[how] = {
      ...limitsOf(how),
      opened: await said(ESCAPE),
      wrote: (await said(writeSettings(HOST_SETTINGS))).split('\n').filter(Boolean),
    };
    await domain.destroy();
    await untilGone(how);
  }
  return { limits, suspended, device, held };
}

/** One that is given while it runs and taken again; what it has done with its node meanwhile is of no use then. */
async function useDevice(domain: Domain): Promise<{ given: string; taken: string }> {
  const xml = "<hostdev mode='capabilities' type='misc'><source><char>/dev/loop-control</char></source></hostdev>";
  const said = async (line: string): Promise<string> => String((await domain.exec(['sh', '-c', line])).stdout).trim();
  await domain.attachDevice(xml);
  const opens = (path: string): string => `(: <${path}) 2>/dev/null && echo ${path}; true`;
  const given = await said(`touch /tmp/own; mount -o bind /dev/loop-control /tmp/own; ${opens('/dev/loop-control')}`);
  await domain.detachDevice(xml);
  return { given, taken: await said(`${opens('/tmp/own')}; ${opens('/dev/null')}`) };
}

async function frozen(domain: Domain, root: string): Promise<unknown> {
  await domain.suspend();
  const states = groupsOf('box').flatMap((group) =>
    ['cgroup.events', 'freezer.state'].flatMap((file) =>
      existsSync(join(group, file)) ? [read(join(group, file))] : [],
    ),
  );
  const size = ticks(root);
  await domain.resume();
  await untilTicks(root, size);
  // It is ended like this, which takes the kernel's own way to end groups.
  await domain.suspend();
  return states.map((state) => /frozen 1|FROZEN/.exec(state)?.[0]).filter(Boolean);
}

async function inDaemon(root: string, cli: string): Promise<unknown> {
  const stateDir = mkdtempSync(join(tmpdir(), 'nd-'));
  const start = async () => {
    const daemon = spawn(process.execPath, [cli, 'daemon', '--state-dir', stateDir], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let words = '';
    while (!words.includes('listening on')) words += String((await once(daemon.stderr, 'data'))[0]);
    return daemon;
  };
  const uri = `lxc+unix:///system?socket=${stateDir}/run/libvirt-sock`;
  let daemon = await start();
  try {
    const first = await connect(uri);
    await first.createDomain(definition('kept', root));
    await first.createDomain(definition('paused', root));
    const paused = await first.lookupDomainByName(`paused-${RUN}`);
    await paused.suspend();
    daemon.kill('SIGKILL');
    await once(daemon, 'close');
    await first.close().catch(() => undefined);
    daemon = await start();
    await using connection = await connect(uri);
    const kept = await connection.lookupDomainByName(`kept-${RUN}`);
    const limits = limitsOf('kept');
    await kept.setMemoryParameters({ hard_limit: 48 * 1024 });
    const changed = limitsOf('kept');
    const usage = (await kept.info()).cpuTimeNs;
    const suspended = await frozenKept(kept);
    await kept.destroy();
    await untilGone('kept');
    const again = await connection.lookupDomainByName(`paused-${RUN}`);
    const state = await again.state();
    await again.destroy();
    await untilGone('paused');
    return {
      limits,
      changed,
      hasTime: Number(usage) > 0,
      suspended,
      found: STATE_NAMES[state.state],
      left: readdirSync(`${stateDir}/run/lxc`),
    };
  } finally {
    daemon.kill('SIGKILL');
    rmSync(stateDir, { recursive: true, force: true });
  }
}

async function frozenKept(domain: Domain): Promise<string> {
  await domain.suspend();
  const { state } = await domain.state();
  await domain.resume();
  return STATE_NAMES[state];
}

function limitsOf(kind: string): Record<string, string> {
  return Object.fromEntries(
    groupsOf(kind).flatMap((group) =>
      FILES.flatMap((file) => (existsSync(join(group, file)) ? [[file, read(join(group, file))] as const] : [])),
    ),
  );
}

/** In each hierarchy. */
function groupsOf(kind: string, directory = '/sys/fs/cgroup'): string[] {
  return subgroups(directory).flatMap((name) => {
    const path = join(directory, name);
    return name.endsWith(`-${kind}-${RUN}.libvirt-lxc`) ? [path] : groupsOf(kind, path);
  });
}

function subgroups(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch {
    // Somebody else's, gone since it was listed.
    return [];
  }
}

async function untilGone(kind: string): Promise<void> {
  await pollUntil(
    () => groupsOf(kind).length === 0,
    () => `groups are left: ${groupsOf(kind).join(' ')}`,
  );
  await pollUntil(
    () => leftProcesses(kind).length === 0,
    () => `processes are left: ${leftProcesses(kind).join(' ')}`,
  );
}

function leftProcesses(kind: string): string[] {
  return listProcesses().flatMap(({ pid, gone }) => {
    const path = `/proc/${pid}/cmdline`;
    const command = gone || !existsSync(path) ? '' : readFileSync(path, 'utf8').replaceAll('\0', ' ');
    return command.includes(`sleep ${markOf(kind)}`) ? [`${pid} ${command}`] : [];
  });
}

/** How long its programs would sleep, by which they are told from others'. */
function markOf(kind: string): string {
  return `1${KINDS.indexOf(kind)}${RUN}`;
}

function read(path: string): string {
  return readFileSync(path, 'utf8').trim();
}

function ticks(root: string): number {
  return statSync(join(root, 'tmp/ticks'), { throwIfNoEntry: false })?.size ?? 0;
}

async function untilTicks(root: string, more: number): Promise<void> {
  await pollUntil(() => ticks(root) > more, 'the container does nothing');
}
