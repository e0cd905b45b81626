/** libvirt's and systemd's services, for those who use them beside us; socket paths, and the kernel. */
import { readdirSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { runtimeDirCandidates } from '../../core/fs-runtime-dir.ts';
import { socketAnswers } from '../../host/socket-answers.ts';
import {
  type DoctorHost,
  type Finding,
  fail,
  isThere,
  lookUp,
  pass,
  quoted,
  readText,
  rootFix,
  warn,
} from '../finding.ts';

interface Service {
  readonly id: string;
  /** Process name, of 15 characters at most. */
  readonly process: string;
  readonly program: string;
  readonly sockets: readonly string[];
  readonly pidFile: string;
  readonly why: string;
  readonly start: string;
  /** The configuration asks for it: that it does not run is a warning. */
  readonly isWanted?: boolean;
}

const SERVICES: readonly Service[] = [
  {
    id: 'dbus',
    process: 'dbus-daemon',
    program: 'dbus-daemon',
    sockets: ['dbus/system_bus_socket'],
    pidFile: 'dbus/pid',
    why: 'libvirtd asks machined and polkit over it, and waits',
    start: 'mkdir -p /run/dbus && dbus-uuidgen --ensure && dbus-daemon --system',
  },
  {
    id: 'virtlogd',
    process: 'virtlogd',
    program: 'virtlogd',
    sockets: ['libvirt/virtlogd-sock'],
    pidFile: 'virtlogd.pid',
    why: "libvirt's guests do not start without it when it runs as root (stdio_handler)",
    start: 'virtlogd --daemon',
  },
  {
    id: 'libvirtd',
    process: 'libvirtd',
    program: 'libvirtd',
    sockets: ['libvirt/libvirt-sock'],
    pidFile: 'libvirtd.pid',
    why: 'virsh and virt-install talk to it; Nestling does not need it',
    start: 'libvirtd --daemon',
  },
];

/** Only for those who ask for it: QEMU locks images itself. */
const LOCKS: Service = {
  id: 'virtlockd',
  process: 'virtlockd',
  program: 'virtlockd',
  sockets: ['libvirt/virtlockd-sock'],
  pidFile: 'virtlockd.pid',
  why: 'qemu.conf has lock_manager = "lockd": no guest of libvirt starts without it',
  start: 'virtlockd --daemon',
  isWanted: true,
};

export async function checkServices(host: DoctorHost): Promise<Finding[]> {
  const names = processNames(host.proc);
  const qemuConf = readText(`${host.etc}/libvirt/qemu.conf`) ?? '';
  const services = /^\s*lock_manager\s*=\s*"lockd"/m.test(qemuConf) ? [...SERVICES, LOCKS] : SERVICES;
  return await Promise.all(services.map((service) => checkService(host, service, names)));
}

async function checkService(host: DoctorHost, service: Service, names: ReadonlySet<string>): Promise<Finding> {
  const { id, process, program, why, start } = service;
  if (names.has(process)) return pass(id, id, 'runs');
  const sockets = service.sockets.map((name) => `${host.run}/${name}`).filter(isThere);
  const answers = await Promise.all(sockets.map(socketAnswers));
  const answering = sockets.find((_, index) => answers[index]);
  // Another program does its work: nestling's daemon, one in another PID namespace.
  if (answering !== undefined) return pass(id, id, `another program answers on ${answering}`);
  const left = [...sockets, ...stalePidFile(host, service)];
  if (left.length > 0) {
    return warn(
      id,
      id,
      `does not run, and has left ${left.join(' and ')}`,
      `programs take it for running, and fail or wait; ${why}`,
      rootFix(host, `rm -f ${left.map(quoted).join(' ')}   # to start it: nestling ci prepare --services`),
    );
  }
  if (service.isWanted === true) return warn(id, id, 'does not run', why, rootFix(host, start));
  if (lookUp(host, program) === undefined) return pass(id, id, 'not installed; Nestling does not need it');
  return pass(id, id, `installed, does not run; for real libvirt: ${start}`);
}

/** One whose process is gone, or is somebody else by now. */
function stalePidFile({ proc, run }: DoctorHost, { pidFile, process }: Service): string[] {
  const path = `${run}/${pidFile}`;
  const pid = readText(path)?.trim();
  if (pid === undefined || !/^\d*$/.test(pid)) return [];
  const isItself = pid !== '' && readText(`${proc}/${pid}/comm`) === process.slice(0, 15);
  return isItself ? [] : [path];
}

function processNames(proc: string): Set<string> {
  const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name));
  return new Set(pids.flatMap((pid) => readText(`${proc}/${pid}/comm`) ?? []));
}

/** The kernel's room for a socket's path, without the closing zero. */
const SOCKET_PATH_BYTES = 107;
/** What stands below the runtime directory at most. */
const BELOW_BYTES = 59;

export function checkSocketPaths({ env, uid, run }: DoctorHost): Finding[] {
  const [first] = runtimeDirCandidates({ uid, xdgRuntimeDir: env['XDG_RUNTIME_DIR'], run });
  if (first === undefined)
    return [
      fail(
        'socket-paths',
        'socket paths',
        'no runtime directory is short enough',
        `a socket's path has at most ${SOCKET_PATH_BYTES} bytes`,
        'unset XDG_RUNTIME_DIR',
      ),
    ];
  const length = Buffer.byteLength(first) + BELOW_BYTES;
  const findings = [pass('socket-paths', 'socket paths', `${first}: at most ${length} of ${SOCKET_PATH_BYTES} bytes`)];
  const temporary = env['TMPDIR'] ?? tmpdir();
  // libvirt keeps sockets below the root, ours are elsewhere.
  if (Buffer.byteLength(temporary) > 60) {
    findings.push(
      warn(
        'tmpdir-length',
        'TMPDIR',
        `${Buffer.byteLength(temporary)} bytes long`,
        "libvirt's embedded driver (virt-qemu-run) cannot make its sockets below it; Nestling can",
        'export TMPDIR=/tmp',
      ),
    );
  }
  return findings;
}

export function checkKernel({ proc }: DoctorHost): Finding[] {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const commandLine = readText(`${proc}/cmdline`) ?? '';
  const told = commandLine
    .split(' ')
    .filter((word) => /^(cgroup|systemd\.unified|kvm|nested|swapaccount|intel_iommu|amd_iommu)/.test(word));
  const fact = [release(), ...told].join(', ');
  if (major > 4 || (major === 4 && minor >= 15)) return [pass('kernel', 'kernel', fact)];
  return [
    warn('kernel', 'kernel', fact, 'before Linux 4.15 there is no device control on cgroup v2', 'use a newer kernel'),
  ];
}
