/** Cgroups, namespaces, limits, capabilities, security modules, the container and its first process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { detectCgroups } from '../../cgroup/detect.ts';
import { libvirtHierarchy, v1Hierarchy, v2Hierarchy } from '../../cgroup/host.ts';
import { planPrepare } from '../../cgroup/prepare.ts';
import { findIdMappers, readSubordinateIds, whyNoProc, whyNoUserNamespaces } from '../../host/user-namespaces.ts';
import { readWhoAmI } from '../../host/who-am-i.ts';
import { lookUpProgram } from '../../process/find-program.ts';
import { type DoctorHost, type Finding, isThere, pass, readText, warn } from '../finding.ts';

/** What libvirt's own validator asks for. */
const CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'devices', 'blkio', 'freezer'];

export function checkCgroups({ proc, run }: DoctorHost): Finding[] {
  const host = detectCgroups({ proc, systemdRuntime: `${run}/systemd/system` });
  if (host.mode === 'none') {
    return [
      warn(
        'cgroup',
        'cgroups',
        'no hierarchy is mounted',
        'guests run, but without limits, and nothing can end them as a group',
        'mount -t cgroup2 none /sys/fs/cgroup',
      ),
    ];
  }
  const unified = v2Hierarchy(host);
  const where = [
    host.mode === 'hybrid' ? 'v1 and v2 side by side' : host.mode,
    host.namespace === 'private' ? 'private namespace' : undefined,
    host.systemd ? 'systemd' : 'no systemd',
  ];
  const findings = [pass('cgroup', 'cgroups', where.filter(Boolean).join(', '))];
  const missing = CONTROLLERS.filter(
    (name) => libvirtHierarchy(host, v2Name(name, host.mode)) === undefined && !isEverywhere(name, host.mode),
  );
  if (missing.length > 0) {
    findings.push(
      warn(
        'cgroup-controllers',
        'controllers',
        `not available: ${missing.join(', ')}`,
        'limits that need them are refused',
        host.mode === 'v2'
          ? 'have them delegated from outside (systemd: Delegate=yes), or boot with cgroup_no_v1=all'
          : `mount -t cgroup -o ${missing[0]} ${missing[0]} /sys/fs/cgroup/${missing[0]}`,
      ),
    );
  } else findings.push(pass('cgroup-controllers', 'controllers', CONTROLLERS.join(', ')));
  const readOnly = host.hierarchies.filter((hierarchy) => hierarchy.readOnly);
  if (readOnly.length > 0) {
    findings.push(
      warn(
        'cgroup-write',
        'cgroups',
        `${readOnly.length} hierarchies are mounted read-only`,
        'guests cannot have limits',
        'docker run --privileged …, or -v /sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=private',
      ),
    );
  }
  if (unified !== undefined && host.mode === 'v2') findings.push(...checkUnified(host));
  const memory = v1Hierarchy(host, 'memory') ?? unified;
  return memory?.ownDirectory === undefined ? findings : [...findings, ...checkOwnLimit(memory.ownDirectory)];
}

function checkUnified(host: ReturnType<typeof detectCgroups>): Finding[] {
  const type = host.unified?.type ?? 'domain';
  const plan = planPrepare(host);
  const [refusal] = plan.refusals;
  const why = 'libvirt, and guests with limits, need controllers in child groups; without systemd nobody makes them';
  // Other programs' processes are moved only when asked to.
  const command = refusal === undefined ? 'nestling ci prepare --cgroups' : 'nestling ci prepare --cgroups=move';
  const fix = { command };
  if (type !== 'root' && type !== 'domain') {
    return [
      warn(
        'cgroup-delegation',
        'delegation',
        `this group is '${type}': +cpu or +cpuset was written while it held processes`,
        `${why}; every QEMU that is to enter a child group is refused (EOPNOTSUPP)`,
        fix,
      ),
    ];
  }
  if (refusal !== undefined) return [warn('cgroup-delegation', 'delegation', refusal.message, why, fix)];
  if (plan.actions.length > 0)
    return [
      warn(
        'cgroup-delegation',
        'delegation',
        `controllers are not enabled for child groups yet (${plan.notes.at(-1) ?? ''})`,
        why,
        fix,
      ),
    ];
  return [pass('cgroup-delegation', 'delegation', `child groups of ${plan.directory} can have limits`)];
}

function checkOwnLimit(directory: string): Finding[] {
  const limit = Number(
    readText(`${directory}/memory.max`) ?? readText(`${directory}/memory.limit_in_bytes`) ?? Number.NaN,
  );
  if (!(limit < 2 ** 50)) return [];
  const limitMiB = Math.floor(limit / 1024 / 1024);
  const fact = `this program's own group may use ${limitMiB} MiB`;
  if (limitMiB >= 1024) return [pass('cgroup-memory', 'memory limit', fact)];
  return [
    warn(
      'cgroup-memory',
      'memory limit',
      fact,
      'a guest and its QEMU count there too: beyond it the kernel kills them',
      'raise the limit of the container or the job (docker run --memory …)',
    ),
  ];
}

/** v2's name; what every v2 group has without a controller is looked for nowhere. */
function v2Name(controller: string, mode: string): string {
  return mode === 'v2' && controller === 'blkio' ? 'io' : controller;
}

function isEverywhere(controller: string, mode: string): boolean {
  return mode === 'v2' && ['cpuacct', 'devices', 'freezer'].includes(controller);
}

export function checkNamespaces(host: DoctorHost): Finding[] {
  const { proc } = host;
  const missing = ['ipc', 'mnt', 'pid', 'uts', 'net', 'user', 'cgroup'].filter(
    (name) => !isLink(`${proc}/self/ns/${name}`),
  );
  const findings =
    missing.length === 0
      ? [pass('namespaces', 'namespaces', 'ipc, mnt, pid, uts, net, user, cgroup')]
      : [
          warn(
            'namespaces',
            'namespaces',
            `the kernel lacks ${missing.join(', ')}`,
            'containers need them',
            'use another kernel',
          ),
        ];
  return [...findings, ...checkUserNamespaces(host)];
}

function checkUserNamespaces({ proc, etc, uid, find = lookUpProgram }: DoctorHost): Finding[] {
  // What root may says nothing of others.
  const refusal =
    uid === 0
      ? whyNoUserNamespaces({ isRoot: false, proc, probe: () => false })
      : (whyNoUserNamespaces({ isRoot: false, proc }) ?? whyNoProc(proc));
  if (refusal !== undefined) {
    const why = 'programs without root cannot make containers, and swtpm is set up without a process namespace';
    return [warn('user-namespaces', 'user namespaces', refusal.why, why, refusal.fix)];
  }
  const allowed = readText(`${proc}/sys/user/max_user_namespaces`)?.trim() ?? 'some';
  const findings = [pass('user-namespaces', 'user namespaces', `${allowed} allowed`)];
  return uid === 0 ? findings : [...findings, ...checkOwnUsers(uid, etc, find)];
}

/** What containers of this user can have. */
function checkOwnUsers(uid: number, etc: string, find: NonNullable<DoctorHost['find']>): Finding[] {
  const title = "a user's containers";
  const name = nameOf(uid, etc);
  const ids = readSubordinateIds({ uid, name }, { etc });
  const count = Math.min(...[ids.uids, ids.gids].map((all) => all.reduce((sum, block) => sum + block.count, 0)));
  const hasMappers = findIdMappers(find) !== undefined;
  const missing = [
    ...(hasMappers ? [] : ['apt install uidmap']),
    ...(count > 0 ? [] : [`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${name ?? uid}`]),
  ];
  const users =
    missing.length === 0
      ? pass('subordinate-ids', title, `${count} users and groups besides root (/etc/subuid, /etc/subgid)`)
      : warn(
          'subordinate-ids',
          title,
          `root alone: ${hasMappers ? 'no' : 'newuidmap is missing, no use of'} subordinate ids (/etc/subuid, /etc/subgid)`,
          'programs in them cannot become other users, which package managers and services do',
          missing.join(' && '),
        );
  if (find('slirp4netns') !== undefined)
    return [users, pass('user-network', title, "slirp4netns for <interface type='user'>")];
  const why = "a container of this user can have no <interface type='user'>, which is the only one without root";
  return [users, warn('user-network', title, 'slirp4netns is missing', why, 'apt install slirp4netns')];
}

function nameOf(uid: number, etc: string): string | undefined {
  const line = readText(`${etc}/passwd`)
    ?.split('\n')
    .find((entry) => entry.split(':')[2] === String(uid));
  return line?.split(':')[0];
}

export function checkLimits({ proc }: DoctorHost): Finding[] {
  const text = readText(`${proc}/self/limits`) ?? '';
  const soft = (name: string): number => {
    const word = new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(text)?.[1] ?? 'unlimited';
    return word === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word);
  };
  const findings: Finding[] = [];
  const rows = [
    [
      'nofile',
      'Max open files',
      1024,
      'every disk and connection of a guest is an open file',
      'ulimit -n 65536   # docker run --ulimit nofile=65536',
    ],
    ['nproc', 'Max processes', 512, 'every virtual CPU and I/O thread is a process to the kernel', 'ulimit -u 4096'],
  ] as const;
  for (const [id, name, least, why, fix] of rows) {
    const value = soft(name);
    findings.push(
      value >= least
        ? pass(`limit-${id}`, name.toLowerCase(), String(value))
        : warn(`limit-${id}`, name.toLowerCase(), String(value), why, fix),
    );
  }
  const memlockKiB = soft('Max locked memory') / 1024;
  findings.push(
    pass(
      'limit-memlock',
      'max locked memory',
      Number.isFinite(memlockKiB) ? `${memlockKiB} KiB: guests with <locked/> or VFIO devices need more` : 'unlimited',
    ),
  );
  const core = soft('Max core file size');
  findings.push(
    pass('limit-core', 'max core file size', core === 0 ? '0: a QEMU that crashes leaves no core file' : String(core)),
  );
  return findings;
}

export function checkContainer({ proc, env }: DoctorHost): Finding[] {
  const { container, userNamespace, uid } = readWhoAmI({ proc, env });
  const vendor = CI_VENDORS.find(([variable]) => (env[variable] ?? '') !== '')?.[1];
  const isWsl = /microsoft/i.test(readText(`${proc}/version`) ?? '');
  const what = [
    container ?? (isWsl ? 'WSL' : 'no container'),
    vendor,
    userNamespace ? 'user namespace' : undefined,
    `uid ${uid}`,
  ]
    .filter(Boolean)
    .join(', ');
  const findings = [pass('container', 'container', what)];
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readText(`${proc}/self/status`) ?? '')?.[1] ?? '0'}`);
  const missing = CAPABILITIES.filter(([, bit]) => (capabilities & (1n << BigInt(bit))) === 0n).map(([name]) => name);
  if (uid === 0 && missing.length > 0) {
    findings.push(
      warn(
        'capabilities',
        'capabilities',
        `root lacks ${missing.join(', ')}`,
        'taps, mounts and cgroups of others need them',
        `docker run ${missing.map((name) => `--cap-add ${name}`).join(' ')} …`,
      ),
    );
  }
  const seccomp = /^Seccomp:\s*(\d)/m.exec(readText(`${proc}/self/status`) ?? '')?.[1];
  findings.push(
    pass(
      'seccomp',
      'system call filter',
      seccomp === '2' ? "on (the container's): unshare and mount may be refused" : 'off',
    ),
  );
  return findings;
}

const CAPABILITIES = [
  ['NET_ADMIN', 12],
  ['SYS_ADMIN', 21],
  ['MKNOD', 27],
] as const;

const CI_VENDORS = [
  ['GITHUB_ACTIONS', 'GitHub Actions'],
  ['GITLAB_CI', 'GitLab CI'],
  ['JENKINS_URL', 'Jenkins'],
  ['BUILDBOT', 'Buildbot'],
  ['CIRCLECI', 'CircleCI'],
  ['TRAVIS', 'Travis CI'],
  ['BUILDKITE', 'Buildkite'],
  ['DRONE', 'Drone'],
  ['TEAMCITY_VERSION', 'TeamCity'],
  ['CIRRUS_CI', 'Cirrus CI'],
] as const;

export function checkSecurityModules({ proc, sys }: DoctorHost): Finding[] {
  const profile = readText(`${proc}/self/attr/current`)?.replaceAll('\0', '');
  const appArmor = readText(`${sys}/module/apparmor/parameters/enabled`) === 'Y';
  const seLinux = isThere(`${sys}/fs/selinux/enforce`);
  if (seLinux)
    return [
      pass(
        'security-module',
        'SELinux',
        `${readText(`${sys}/fs/selinux/enforce`) === '1' ? 'enforcing' : 'permissive'}, this program is ${profile ?? 'unknown'}`,
      ),
    ];
  if (!appArmor) return [pass('security-module', 'AppArmor, SELinux', 'neither is active: guests are not confined')];
  if (profile?.startsWith('docker-default') === true) {
    return [
      warn(
        'security-module',
        'AppArmor',
        profile,
        'the profile refuses mounts and some of what guests need',
        'docker run --security-opt apparmor=unconfined …',
      ),
    ];
  }
  return [pass('security-module', 'AppArmor', `active, this program is ${profile ?? 'unconfined'}`)];
}

/** How long PID 1 may take to wait for what it inherits. */
const REAP_MS = 300;
const REAP_POLL_MS = 10;

/** Leaves a process without a parent, which falls to PID 1 and ends at once. */
export async function checkReaper({ proc }: DoctorHost): Promise<Finding[]> {
  const shell = spawn('sh', ['-c', 'sh -c "exit 0" & echo $!'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  shell.stdout.on('data', (chunk) => (output += String(chunk)));
  await once(shell, 'close');
  const path = `${proc}/${output.trim()}/stat`;
  for (let waitedMs = 0; waitedMs < REAP_MS; waitedMs += REAP_POLL_MS) {
    const stat = readText(path);
    if (stat === undefined || !/\) Z /.test(stat))
      return [pass('reaper', 'PID 1', 'waits for the processes it inherits')];
    await new Promise((resolve) => setTimeout(resolve, REAP_POLL_MS));
  }
  return [
    warn(
      'reaper',
      'PID 1',
      `leaves ended processes lying about (${readText(`${proc}/1/comm`) ?? 'unknown'})`,
      'libvirt waits for each of them in vain (13 to 50 s for one start), and the process table fills up',
      'start the container with an init: docker run --init …, or tini -s -- COMMAND',
    ),
  ];
}

function isLink(path: string): boolean {
  try {
    readlinkSync(path);
    return true;
  } catch {
    return false;
  }
}
