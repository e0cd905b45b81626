/** Plans what makes a plain CI container fit for guests: groups, device nodes, firewall, services, cgroups. Pure. */
import { formatActions as formatCgroupActions } from '../cgroup/apply.ts';
import { type PreparePlan, planPrepare } from '../cgroup/prepare.ts';
import type { CiFacts, DeviceNode } from './facts.ts';
import type { CiAction, CiStep } from './step.ts';

export interface CiOptions {
  readonly kvm: boolean;
  readonly firewall: boolean;
  readonly services: boolean;
  readonly cgroups: boolean;
  /** Processes of others may be moved to a leaf. */
  readonly moveForeign: boolean;
  /** Who will run guests; they get into the groups. */
  readonly user?: string | undefined;
}

/** The cgroup step is carried out by `src/cgroup`, which knows its actions; all others are commands. */
export interface CiPlan {
  readonly steps: readonly CiStep[];
  readonly cgroups?: PreparePlan | undefined;
}

export function planCi(facts: CiFacts, options: CiOptions): CiPlan {
  const steps: CiStep[] = [];
  if (options.kvm) steps.push(...planGroups(facts, options.user), planNode(facts, 'kvm'), planNode(facts, 'tun'));
  if (options.firewall) steps.push(planFirewall(facts), planForwarding(facts));
  if (options.services) steps.push(...planQemuUser(facts), ...planServices(facts));
  const cgroups = options.cgroups ? planPrepare(facts.cgroups, { moveForeign: options.moveForeign }) : undefined;
  return { steps, ...(cgroups === undefined ? {} : { cgroups }) };
}

/** The cgroup part for people: what would be done, or why not. */
export function describeCgroups(plan: PreparePlan): string {
  const [refusal] = plan.refusals;
  if (refusal !== undefined) return `not done: ${refusal.message}\n`;
  const notes = plan.notes.map((note) => `# ${note}\n`).join('');
  return plan.actions.length === 0 ? notes || '# nothing to do\n' : `${notes}${formatCgroupActions(plan.actions)}`;
}

const run = (command: string, ...args: string[]): CiAction => ({ kind: 'run', command, args });

function planGroups({ groups, kvmMembers, programs }: CiFacts, user: string | undefined): CiStep[] {
  const needsTools = !programs.has('groupadd');
  const steps: CiStep[] = ['kvm', 'libvirt'].map((name) => ({
    id: `group-${name}`,
    title: `group ${name}`,
    why: name === 'kvm' ? 'who is in it may open /dev/kvm' : "who is in it may talk to libvirt's system daemon",
    done: groups.has(name),
    actions: [run('groupadd', '--system', name)],
    undo: [run('groupdel', name)],
    ...(needsTools && !groups.has(name) ? { refusal: 'groupadd is not installed: apt-get install passwd' } : {}),
  }));
  if (user === undefined) return steps;
  return [
    ...steps,
    {
      id: 'user-kvm',
      title: `${user} in the groups kvm and libvirt`,
      why: 'guests run as that user',
      done: kvmMembers.includes(user),
      actions: [run('usermod', '-aG', 'kvm,libvirt', user)],
      undo: [run('gpasswd', '-d', user, 'kvm')],
    },
  ];
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

/** Never open to all: whoever may use KVM is in its group. */
function planNode(facts: CiFacts, name: 'kvm' | 'tun'): CiStep {
  const { path, minor, mode, group, why } = NODES[name];
  const node: DeviceNode = facts[name];
  const gid = facts.groups.get(group);
  const text = mode.toString(8);
  const base = { id: `node-${name}`, title: `${path} (${text} root:${group})`, why };
  const owns: CiAction[] = [run('chown', `root:${group}`, path), run('chmod', `0${text}`, path)];
  if (!node.exists) {
    if (!facts.misc.includes(name)) {
      const refusal =
        name === 'kvm'
          ? 'the kernel has no KVM: nothing that could be done in here'
          : 'the kernel has no tun module loaded: modprobe tun on the host';
      return { ...base, done: false, actions: [], undo: [], refusal };
    }
    const folder: CiAction[] = name === 'tun' ? [{ kind: 'mkdir', path: '/dev/net' }] : [];
    return {
      ...base,
      done: false,
      actions: [...folder, run('mknod', path, 'c', '10', String(minor)), ...owns],
      undo: [{ kind: 'remove', path }],
    };
  }
  // Whoever has opened it to all is not corrected.
  const isOpen = (node.mode & 0o006) === 0o006 || ((node.mode & 0o060) === 0o060 && node.gid === gid);
  return {
    ...base,
    done: isOpen,
    actions: owns,
    undo: [run('chown', `root:${node.gid}`, path), run('chmod', `0${node.mode.toString(8)}`, path)],
  };
}

function planFirewall({ iptables, programs }: CiFacts): CiStep {
  const base = {
    id: 'firewall',
    title: 'iptables of the family that the kernel has',
    why: 'rules of the other family are refused, or have no effect',
  };
  const { current, legacy, nft } = iptables;
  if (!programs.has('iptables')) {
    return {
      ...base,
      done: false,
      actions: [],
      undo: [],
      refusal:
        'iptables is not installed: apt-get install iptables (virtual networks need it; user-mode networking does not)',
    };
  }
  const works = current?.includes('legacy') === true ? legacy : nft;
  const wanted = nft ? 'nft' : legacy ? 'legacy' : undefined;
  if (wanted === undefined)
    return {
      ...base,
      done: false,
      actions: [],
      undo: [],
      refusal: 'neither family works here: the container lacks CAP_NET_ADMIN, or the kernel both modules',
    };
  const set = (path: string): CiAction => run('update-alternatives', '--set', 'iptables', path);
  return {
    ...base,
    done: works,
    actions: [set(`/usr/sbin/iptables-${wanted}`)],
    undo: current === undefined ? [] : [set(current)],
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
  };
}

/** Debian's package makes them; libvirtd does not begin without the user that its configuration names. */
function planQemuUser({ groups, users }: CiFacts): CiStep[] {
  const name = 'libvirt-qemu';
  const group = groups.has(name) ? ['--gid', name] : ['--user-group'];
  return [
    {
      id: `user-${name}`,
      title: `user ${name}`,
      why: "libvirt's guests run as it",
      done: users.has(name),
      actions: [run('useradd', '--system', '--no-create-home', '--home-dir', '/var/lib/libvirt', ...group, name)],
      // It takes the group of its own along.
      undo: [run('userdel', name)],
    },
  ];
}

const SERVICES = [
  {
    program: 'dbus-daemon',
    socket: '/run/dbus/system_bus_socket',
    before: [{ kind: 'mkdir', path: '/run/dbus' }, run('dbus-uuidgen', '--ensure')] as const,
    args: ['--system', '--nofork', '--nopidfile'],
    why: 'libvirtd asks machined and polkit over it',
  },
  {
    program: 'virtlogd',
    socket: '/run/libvirt/virtlogd-sock',
    before: [] as const,
    args: [],
    why: "it takes guests' output; nothing starts it without systemd",
  },
  {
    program: 'libvirtd',
    socket: '/run/libvirt/libvirt-sock',
    before: [] as const,
    args: [],
    client: ['virsh', '-c', 'qemu:///system', 'uri'],
    why: 'virsh, Vagrant and Molecule talk to it',
  },
] as const;

/** In the order in which they need each other. */
function planServices({ programs, processes, staleFiles }: CiFacts): CiStep[] {
  return SERVICES.map(({ program, socket, before, args, why, ...rest }) => {
    const stale = staleFiles.filter(
      (path) =>
        path.includes(program.replace('-daemon', '')) ||
        path === socket ||
        (program === 'libvirtd' && path.includes('/libvirt-')),
    );
    return {
      id: `service-${program}`,
      title: program,
      why,
      done: processes.has(program),
      actions: [
        ...stale.map((path): CiAction => ({ kind: 'remove', path })),
        ...before,
        { kind: 'service', command: program, args, socket, ...(programs.has('virsh') ? rest : {}) },
      ],
      undo: [],
      ...(programs.has(program)
        ? {}
        : {
            refusal: `${program} is not installed: apt-get install ${program === 'dbus-daemon' ? 'dbus' : 'libvirt-daemon-system'}`,
          }),
    };
  });
}
