/**
 * The daemons of real libvirt that nothing starts where there is no systemd: a table in the order in which they need each other, and the plan
 * that starts those that are not there. Pure; who answers and what dead ones left is among the facts.
 */
import type { CiFacts } from './facts.ts';
import type { CiAction, CiStep } from './step.ts';

export interface Service {
  readonly program: string;
  readonly socket: string;
  /** Files that keep the next one from starting, or its clients waiting, when their owner is dead; the socket is one of them. */
  readonly leftovers: readonly string[];
  readonly pidFile: string;
  readonly before: readonly CiAction[];
  readonly args: readonly string[];
  readonly client?: readonly string[];
  /** Debian's. */
  readonly package: string;
  readonly why: string;
  /** One that is not installed is passed over. */
  readonly optional?: boolean;
}

const run = (command: string, ...args: string[]): CiAction => ({ kind: 'run', command, args });

const FOUNDATION: readonly Service[] = [
  {
    program: 'dbus-daemon',
    socket: '/run/dbus/system_bus_socket',
    leftovers: [],
    pidFile: '/run/dbus/pid',
    before: [{ kind: 'mkdir', path: '/run/dbus' }, run('dbus-uuidgen', '--ensure')],
    args: ['--system', '--nofork', '--nopidfile'],
    package: 'dbus',
    why: 'libvirtd asks machined and polkit over it',
  },
  {
    program: 'virtlogd',
    socket: '/run/libvirt/virtlogd-sock',
    leftovers: ['/run/libvirt/virtlogd-admin-sock'],
    pidFile: '/run/virtlogd.pid',
    before: [],
    args: [],
    package: 'libvirt-daemon-system',
    why: "it takes guests' output; nothing starts it without systemd",
  },
];

/** Where qemu.conf says `lock_manager = "lockd"`; no guest starts without it then. */
const LOCKS: Service = {
  program: 'virtlockd',
  socket: '/run/libvirt/virtlockd-sock',
  leftovers: ['/run/libvirt/virtlockd-admin-sock'],
  pidFile: '/run/virtlockd.pid',
  before: [],
  args: [],
  package: 'libvirt-daemon-system',
  why: 'qemu.conf has lock_manager = "lockd": it keeps two guests from one image',
};

const MONOLITH: Service = {
  program: 'libvirtd',
  socket: '/run/libvirt/libvirt-sock',
  leftovers: ['/run/libvirt/libvirt-sock-ro', '/run/libvirt/libvirt-admin-sock'],
  pidFile: '/run/libvirtd.pid',
  before: [],
  args: [],
  client: ['virsh', '-c', 'qemu:///system', 'uri'],
  package: 'libvirt-daemon-system',
  why: 'virsh, Vagrant and Molecule talk to it',
};

/** What newer distributions have in its place; networks and storage before the guests that use them. */
const MODULAR: readonly Service[] = ['virtnetworkd', 'virtstoraged', 'virtqemud'].map((program) => ({
  program,
  socket: `/run/libvirt/${program}-sock`,
  leftovers: [`/run/libvirt/${program}-sock-ro`, `/run/libvirt/${program}-admin-sock`],
  pidFile: `/run/${program}.pid`,
  before: [],
  args: [],
  ...(program === 'virtqemud' ? { client: ['virsh', '-c', 'qemu:///system', 'uri'] } : { optional: true }),
  package: 'libvirt-daemon-system',
  why: program === 'virtqemud' ? MONOLITH.why : `virtqemud's guests use its ${program.slice(4, -1)}`,
}));

/** All that may be started somewhere: what is asked about when facts are read. */
export const SERVICES: readonly Service[] = [...FOUNDATION, LOCKS, MONOLITH, ...MODULAR];

/** In order. Where libvirtd is not installed and its modular successors are, these. */
export function planServices({ programs, answering, stale, lockManager }: CiFacts): CiStep[] {
  const isModular = !programs.has('libvirtd') && programs.has('virtqemud');
  const locks = lockManager === 'lockd' ? [LOCKS] : [];
  const wanted = [...FOUNDATION, ...locks, ...(isModular ? MODULAR : [MONOLITH])];
  return wanted
    .filter(({ program, optional }) => optional !== true || programs.has(program))
    .map((service): CiStep => {
      const { program, socket, args, why, client } = service;
      const start: CiAction = { kind: 'service', command: program, args, socket };
      return {
        id: `service-${program}`,
        title: program,
        why,
        done: answering.has(socket),
        actions: [
          ...(stale.get(program) ?? []).map((path): CiAction => ({ kind: 'remove', path })),
          ...service.before,
          client !== undefined && programs.has('virsh') ? { ...start, client } : start,
        ],
        undo: [],
        fix: `look at what it said in /var/log/nestling/${program}.log`,
        ...(programs.has(program)
          ? {}
          : { refusal: `${program} is not installed: apt-get install ${service.package}` }),
      };
    });
}
