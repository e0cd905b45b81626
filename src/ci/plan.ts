/** Plans what makes a plain CI container fit for guests: groups, device nodes, firewall, services, cgroups. Pure. */
import { type PreparePlan, planPrepare } from '../cgroup/prepare.ts';
import type { CiFacts, DeviceNode } from './facts.ts';
import { planServices } from './services.ts';
import type { CiAction, CiStep } from './step.ts';

export interface CiOptions {
  readonly kvm: boolean;
  readonly firewall: boolean;
  readonly services: boolean;
  readonly cgroups: boolean;
  /** Processes of others may be moved to a leaf. */
  readonly moveForeign: boolean;
  /** Who will run guests; gets into the groups. */
  readonly user?: string | undefined;
}

/** In the order in which they are carried out: what is started last sits in the cgroups that were made for it. */
export function planCi(facts: CiFacts, options: CiOptions): CiStep[] {
  const steps: CiStep[] = [];
  if (options.kvm || options.services || options.user !== undefined) steps.push(...planGroups(facts, options.user));
  if (options.kvm) steps.push(planNode(facts, 'kvm'), planNode(facts, 'tun'));
  if (options.firewall) steps.push(planFirewall(facts), planForwarding(facts));
  if (options.cgroups) steps.push(planCgroups(planPrepare(facts.cgroups, { moveForeign: options.moveForeign })));
  if (options.services) steps.push(planQemuUser(facts), ...planServices(facts));
  return steps;
}

const run = (command: string, ...args: string[]): CiAction => ({ kind: 'run', command, args });

const GROUPS = ['kvm', 'libvirt'];

function planGroups(facts: CiFacts, user: string | undefined): CiStep[] {
  const { groups, programs } = facts;
  const needsTools = !programs.has('groupadd');
  const steps: CiStep[] = GROUPS.map((name) => ({
    id: `group-${name}`,
    title: `group ${name}`,
    why: name === 'kvm' ? 'who is in it may open /dev/kvm' : "who is in it may talk to libvirt's system daemon",
    done: groups.has(name),
    actions: [run('groupadd', '--system', name)],
    undo: [run('groupdel', name)],
    ...(needsTools && !groups.has(name) ? { refusal: 'groupadd is not installed: apt-get install passwd' } : {}),
  }));
  return user === undefined ? steps : [...steps, planUser(facts, user)];
}

function planUser({ members, users, programs }: CiFacts, user: string): CiStep {
  const missing = GROUPS.filter((name) => members.get(name)?.includes(user) !== true);
  const refusal = !users.has(user)
    ? `there is no user '${user}': useradd --create-home ${user}`
    : programs.has('usermod')
      ? undefined
      : 'usermod is not installed: apt-get install passwd';
  return {
    id: 'user-groups',
    title: `${user} in the groups ${GROUPS.join(' and ')}`,
    why: 'guests run as that user; it counts from the next login on',
    done: missing.length === 0,
    actions: [run('usermod', '-aG', missing.join(','), user)],
    undo: missing.map((name) => run('gpasswd', '-d', user, name)),
    ...(refusal === undefined ? {} : { refusal }),
  };
}

function planCgroups(plan: PreparePlan): CiStep {
  const [refusal] = plan.refusals;
  return {
    id: 'cgroups',
    title: 'cgroup controllers for guests',
    why: 'guests have limits of memory, CPU and I/O, and statistics',
    done: refusal === undefined && plan.actions.length === 0,
    actions: [{ kind: 'prepare-cgroups', plan }],
    undo: [{ kind: 'change-cgroups', actions: plan.undo }],
    ...(refusal === undefined ? {} : { refusal: refusal.message }),
  };
}

/** Numbers of misc devices, and what their nodes are like elsewhere. */
const NODES = {
  kvm: { path: '/dev/kvm', minor: 232, mode: 0o660, group: 'kvm', why: 'without it guests run under emulation' },
  tun: {
    path: '/dev/net/tun',
    minor: 200,
    mode: 0o666,
    group: 'root',
    why: 'bridged and routed guests need taps; opening one takes CAP_NET_ADMIN all the same',
  },
} as const;

/** /dev/kvm is never opened to all: whoever may use it is in its group. */
function planNode(facts: CiFacts, name: 'kvm' | 'tun'): CiStep {
  const { path, minor, mode, group, why } = NODES[name];
  const node: DeviceNode = facts[name];
  const text = mode.toString(8);
  const base = {
    id: `node-${name}`,
    title: `${path} (${text} root:${group})`,
    why,
    fix: `start the container with --device ${path}: its device rules deny it`,
  };
  const owns: CiAction[] = [run('chown', `root:${group}`, path), run('chmod', `0${text}`, path)];
  if (node.exists) {
    return {
      ...base,
      done: isOpen(node, facts.groups.get(group)),
      actions: [...owns, { kind: 'open', path }],
      undo: [run('chown', `${node.uid}:${node.gid}`, path), run('chmod', `0${node.mode.toString(8)}`, path)],
    };
  }
  if (!facts.misc.includes(name)) {
    const refusal =
      name === 'kvm'
        ? 'the kernel has no KVM: load kvm_intel or kvm_amd on the host, or go on with emulation (--accel tcg)'
        : 'the kernel has no tun module loaded: modprobe tun on the host';
    return { ...base, done: false, actions: [], undo: [], refusal };
  }
  const folder: CiAction[] = name === 'tun' ? [{ kind: 'mkdir', path: '/dev/net' }] : [];
  const make = run('mknod', path, 'c', '10', String(minor));
  return {
    ...base,
    done: false,
    actions: [...folder, make, ...owns, { kind: 'open', path }],
    undo: [{ kind: 'remove', path }],
  };
}

/** Whoever has opened it to all is not corrected. */
function isOpen({ mode, gid }: DeviceNode, group: number | undefined): boolean {
  return (mode & 0o006) === 0o006 || ((mode & 0o060) === 0o060 && gid === group);
}

function planFirewall({ iptables, programs }: CiFacts): CiStep {
  const { family, alternative, alternative6, legacy, nft, tables } = iptables;
  const base = {
    id: 'firewall',
    title: 'iptables of the family that the kernel has',
    why: 'rules of the other family are refused, or have no effect',
    done: false,
    actions: [],
    undo: [],
  };
  if (family === undefined) {
    const refusal = 'iptables is not installed: apt-get install iptables (only virtual networks need it)';
    return { ...base, refusal };
  }
  if (family === 'legacy' ? legacy : nft)
    return { ...base, title: `iptables (${family})`, done: true, ...bothFamilies(family, tables) };
  const wanted = nft ? 'nft' : legacy ? 'legacy' : undefined;
  if (wanted === undefined) {
    const refusal =
      'neither family works here: start the container with --cap-add NET_ADMIN, or load ip_tables or nf_tables on the host';
    return { ...base, refusal };
  }
  if (alternative === undefined || !programs.has('update-alternatives')) {
    const refusal = `iptables is of the family ${family}, which this kernel refuses, and cannot be switched here: install the ${wanted} one`;
    return { ...base, refusal };
  }
  const set = (name: string, path: string): CiAction => run('update-alternatives', '--set', name, path);
  const other6 = alternative6 === undefined ? [] : [set('ip6tables', `/usr/sbin/ip6tables-${wanted}`)];
  return {
    ...base,
    title: `iptables (${wanted} instead of ${family}, which this kernel refuses)`,
    ...bothFamilies(wanted, tables),
    actions: [set('iptables', `/usr/sbin/iptables-${wanted}`), ...other6],
    undo: [set('iptables', alternative), ...(alternative6 === undefined ? [] : [set('ip6tables', alternative6)])],
  };
}

/** Rules of the other family stay in force, and no listing of this one shows them. Whose they are is not known: they are left alone. */
function bothFamilies(family: 'legacy' | 'nft', tables: CiFacts['iptables']['tables']): { note?: string } {
  const other = family === 'nft' ? 'legacy' : 'nft';
  if (tables[other].length === 0) return {};
  const names = tables[other].join(', ');
  return {
    note: `there are ${other} tables too (${names}): a packet must pass both, so that guests lose their network without a message where those drop it; iptables-${other}-save shows them, update-alternatives --set iptables /usr/sbin/iptables-${other} has all in that family`,
  };
}

function planForwarding({ ipForward }: CiFacts): CiStep {
  const path = '/proc/sys/net/ipv4/ip_forward';
  return {
    id: 'ip-forward',
    title: 'IP forwarding',
    why: 'guests on NAT and routed networks reach the outside',
    done: ipForward,
    actions: [{ kind: 'write', path, content: '1' }],
    undo: [{ kind: 'write', path, content: '0' }],
    fix: 'start the container with --sysctl net.ipv4.ip_forward=1',
  };
}

/** Debian's package makes it; libvirtd does not begin without the user that its configuration names. */
function planQemuUser({ groups, users, programs }: CiFacts): CiStep {
  const name = 'libvirt-qemu';
  const group = groups.has(name) ? ['--gid', name] : ['--user-group'];
  const words = ['--system', '--no-create-home', '--home-dir', '/var/lib/libvirt', '--groups', 'kvm', ...group, name];
  return {
    id: `user-${name}`,
    title: `user ${name}`,
    why: "libvirt's guests run as it, and may open /dev/kvm by its group",
    done: users.has(name),
    actions: [run('useradd', ...words)],
    // It takes the group of its own along.
    undo: [run('userdel', name)],
    ...(programs.has('useradd') ? {} : { refusal: 'useradd is not installed: apt-get install passwd' }),
  };
}
