/** Runs inside the systemd guest: what is found out there, what a delegated scope may do, and that children stay in their caller's scope. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { detectDelegation } from '../../src/cgroup/detect-delegation.ts';
import {
  applyActions,
  detectCgroups,
  planGroup,
  planPrepare,
  planTuning,
  prepare,
  v2Hierarchy,
} from '../../src/cgroup/index.ts';
import { connect } from '../../src/index.ts';
import { listDescendants } from '../../src/process/proc.ts';
import { domainXml } from '../support/domain-xml.ts';
import { runIn, runScenario, startSleeper } from './cgroup-v2-groups.ts';

const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];

await runScenario({
  detect: async () => {
    const host = await detectDelegation(detectCgroups());
    const { mode, namespace, systemd, unified } = host;
    const { ownPath, controllers } = v2Hierarchy(host) ?? {};
    return { mode, namespace, systemd, ...unified, ownPath, controllers };
  },

  /** `Delegate=yes`: limits within the scope, without asking systemd. */
  delegated: async () => {
    const scope = readFileSync('/proc/self/cgroup', 'utf8').trim();
    const plan = planPrepare(detectCgroups());
    prepare(plan);
    const request = { base: 'own', names: ['guest'], makeAbove: () => true, wanted: ['memory', 'cpu'] } as const;
    const { place, actions } = planGroup({ ...request, host: detectCgroups(), demanded: ['memory', 'cpu'] });
    applyActions([...actions, ...planTuning(place, { memory: { hardLimitKiB: 32 * 1024 } })]);
    const inside = await runIn(place, 'cat /proc/self/cgroup; exec dd if=/dev/zero of=/dev/null bs=64M count=1');
    applyActions([{ kind: 'rmdir', directory: place.v2?.directory ?? '' }, ...plan.undo]);
    const back = readFileSync('/proc/self/cgroup', 'utf8').trim();
    return { scope, back, child: inside.stdout.trim(), signal: inside.signal };
  },

  /** A child and an embedded guest have all that this program has. */
  context: async () => {
    await using child = await startSleeper();
    await using connection = await connect('qemu:///embed');
    const xml = domainXml({ name: 'context', memoryMiB: 16, disks: [{ path: '/programs/halt.img', readonly: true }] });
    await using _guest = await connection.createDomain(xml);
    const [qemu] = listDescendants(process.pid).filter(({ comm }) => comm.startsWith('qemu-system'));
    if (qemu === undefined) throw new Error('there is no QEMU below this program');
    const threads = readdirSync(`/proc/${qemu.pid}/task`).map((thread) =>
      readFileSync(`/proc/${qemu.pid}/task/${thread}/cgroup`, 'utf8').trim(),
    );
    const own = contextOf('self');
    return { own, child: contextOf(child.pid), qemu: contextOf(qemu.pid), threads: [...new Set(threads)] };
  },
});

/** What surrounds a process; values of `stat` are counted behind the command's closing parenthesis. */
function contextOf(pid: number | 'self'): Record<string, string> {
  const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8');
  const status = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(read('status'))?.[1] ?? '';
  const stat = read('stat')
    .replace(/^.*\) /s, '')
    .split(' ');
  return {
    cgroup: read('cgroup').trim(),
    ...Object.fromEntries(NAMESPACES.map((name) => [`ns/${name}`, readlinkSync(`/proc/${pid}/ns/${name}`)])),
    uid: status('Uid'),
    cpus: status('Cpus_allowed_list'),
    nice: stat[16] ?? '',
    oomScore: read('oom_score_adj').trim(),
    openFiles: /^Max open files\s+(\S+\s+\S+)/m.exec(read('limits'))?.[1] ?? '',
  };
}
