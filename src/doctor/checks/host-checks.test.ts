/** Every check that can warn or fail does so, on a host of plain files and stand-in programs that has just that wrong with it. */
import { chmodSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Check, DoctorHost, Finding } from '../finding.ts';
import { checkFirmware, checkPrograms } from './devices.ts';
import { checkCgroups, checkContainer, checkLimits, checkNamespaces, checkSecurityModules } from './isolation.ts';
import { checkAccelerator, checkEntropy, checkHugePages, checkIommu, checkMemory, checkProcessor } from './machine.ts';
import { checkDnsmasq, checkFirewall, checkForwarding, checkMacAddresses } from './network.ts';
import { checkServices, checkSocketPaths } from './services.ts';

let root: string;
let host: DoctorHost;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nd-'));
  const at = (name: string): string => join(root, name);
  const roots = { proc: at('proc'), sys: at('sys'), dev: at('dev'), etc: at('etc'), run: at('run') };
  host = { ...roots, modules: at('modules'), env: {}, uid: 0 };
  put('proc/self/status', 'CapEff:\t000001ffffffffff\nSeccomp:\t0\n');
  put('proc/self/limits', 'Max open files 20000 20000 files\nMax processes 9000 9000 processes\n');
  put('proc/cpuinfo', 'processor\t: 0\nflags\t\t: fpu vmx\n');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function put(path: string, text = ''): string {
  const whole = join(root, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, text);
  return whole;
}

/** From now on only these programs are installed. */
function programs(scripts: Readonly<Record<string, string>>): void {
  host = { ...host, find: (name) => (name in scripts ? join(root, 'bin', name) : undefined) };
  mkdirSync(join(root, 'bin'), { recursive: true });
  for (const [name, script] of Object.entries(scripts)) chmodSync(put(`bin/${name}`, `#!/bin/sh\n${script}\n`), 0o755);
  vi.stubEnv('PATH', join(root, 'bin'));
}

async function findingOf(check: Check, id: string): Promise<Finding | undefined> {
  return (await check(host)).find((one) => one.id === id);
}

/** Verdict, and fact, reason and command as one text. */
async function lineOf(check: Check, id: string): Promise<string> {
  const { verdict, fact, why = '', fix } = (await findingOf(check, id)) ?? {};
  return `${verdict}: ${fact} | ${why} | ${fix?.command ?? ''}`;
}

describe('the processor and memory', () => {
  it('without virtualization flags, nesting off', async () => {
    expect(await lineOf(checkProcessor, 'cpu-virtualization')).toMatch(/^pass: has vmx/);
    put('proc/cpuinfo', 'processor\t: 0\nflags\t\t: fpu\n');
    expect(await lineOf(checkProcessor, 'cpu-virtualization')).toMatch(/^warn: no virtualization flag/);
    put('sys/module/kvm_amd/parameters/nested', '0\n');
    expect(await lineOf(checkProcessor, 'nested')).toMatch(/^warn: switched off .*nested=1/);
  });

  it('without QEMU nothing can be said of KVM', async () => {
    programs({});
    expect(await lineOf(checkAccelerator, 'kvm')).toMatch(/^warn: not tried: .*apt-get install/);
  });

  it('too little memory, no random numbers, huge pages and IOMMU as they are', async () => {
    put(
      'proc/meminfo',
      'MemTotal: 2000000 kB\nMemAvailable: 500000 kB\nHugePages_Total: 4\nHugePages_Free: 1\nHugepagesize: 2048 kB\n',
    );
    expect(await lineOf(checkMemory, 'memory')).toMatch(/^warn: 488 MiB available/);
    expect(await lineOf(checkHugePages, 'hugepages')).toMatch(/^pass: 1 of 4 free, 2048 KiB/);
    expect(await lineOf(checkEntropy, 'entropy')).toMatch(/^fail: there is no .*urandom .*mknod/);
    put('dev/urandom');
    put('proc/sys/kernel/random/entropy_avail', '3\n');
    expect(await lineOf(checkEntropy, 'entropy')).toMatch(/^warn: 3 bits/);
    put('proc/cmdline', 'quiet intel_iommu=off\n');
    expect(await lineOf(checkIommu, 'iommu')).toMatch(/switched off on the kernel command line/);
    put('sys/kernel/iommu_groups/0/x');
    expect(await lineOf(checkIommu, 'iommu')).toMatch(/devices can be given/);
  });
});

describe('cgroups', () => {
  const mounts = (text: string, own = '0::/\n'): void => {
    put('proc/self/mountinfo', text);
    put('proc/self/cgroup', own);
  };

  it('that are not mounted, read-only, or lack controllers', async () => {
    mounts('');
    expect(await lineOf(checkCgroups, 'cgroup')).toMatch(/^warn: no hierarchy is mounted .*mount -t cgroup2/);
    mounts(`30 1 0:26 / ${root}/cg ro - cgroup cgroup ro,cpu\n`, '2:cpu:/\n');
    expect(await lineOf(checkCgroups, 'cgroup-controllers')).toMatch(
      /^warn: not available: cpuacct, .*mount -t cgroup/,
    );
    expect(await lineOf(checkCgroups, 'cgroup-write')).toMatch(/^warn: 1 hierarchies are mounted read-only/);
  });

  it('v2 that is threaded, populated, or prepared', async () => {
    mounts(`30 1 0:26 / ${root}/cg rw - cgroup2 cgroup2 rw\n`);
    put('cg/cgroup.controllers', 'cpu cpuset io memory pids\n');
    put('cg/cgroup.procs', '1\n');
    put('cg/cgroup.subtree_control', 'cpu\n');
    put('cg/cgroup.type', 'domain threaded\n');
    expect(await lineOf(checkCgroups, 'cgroup-delegation')).toMatch(
      /^warn: this group is 'domain threaded'.*EOPNOTSUPP/,
    );
    put('cg/cgroup.type', 'domain\n');
    expect(await lineOf(checkCgroups, 'cgroup-delegation')).toMatch(/^warn: .*ci prepare --cgroups=move/);
    put('cg/cgroup.procs', '');
    expect(await lineOf(checkCgroups, 'cgroup-delegation')).toMatch(
      /^warn: controllers are not enabled .*ci prepare --cgroups/,
    );
    put('cg/cgroup.subtree_control', 'cpu cpuset io memory pids\n');
    expect(await lineOf(checkCgroups, 'cgroup-delegation')).toMatch(/^pass: child groups of/);
    put('cg/memory.max', String(512 * 1024 * 1024));
    expect(await lineOf(checkCgroups, 'cgroup-memory')).toMatch(/^warn: .* may use 512 MiB/);
  });
});

describe('namespaces, limits, container', () => {
  it.each([
    ['user/max_user_namespaces', '0', /max_user_namespaces is 0/],
    ['kernel/unprivileged_userns_clone', '0', /unprivileged_userns_clone is 0/],
    ['kernel/apparmor_restrict_unprivileged_userns', '1', /AppArmor gives users no rights/],
  ])('user namespaces: %s', async (name, value, said) => {
    put('proc/sys/user/max_user_namespaces', '9');
    put(`proc/sys/${name}`, value);
    expect(await lineOf(checkNamespaces, 'user-namespaces')).toMatch(said);
    expect(await lineOf(checkNamespaces, 'namespaces')).toMatch(/^warn: the kernel lacks ipc, mnt/);
  });

  it('what containers of a user can have', async () => {
    put('proc/sys/user/max_user_namespaces', '9\n');
    put('etc/passwd', 'ann:x:1000:1000::/:/bin/sh\n');
    expect(await findingOf(checkNamespaces, 'subordinate-ids')).toBeUndefined();
    programs({});
    host = { ...host, uid: 1000 };
    expect(await lineOf(checkNamespaces, 'subordinate-ids')).toMatch(
      /^warn: root alone: newuidmap is missing.*apt install uidmap && usermod --add-subuids .* ann$/,
    );
    expect(await lineOf(checkNamespaces, 'user-network')).toMatch(/^warn: slirp4netns is missing/);
    programs({ newuidmap: '', newgidmap: '', slirp4netns: '' });
    for (const file of ['subuid', 'subgid']) put(`etc/${file}`, 'ann:100000:65536\n');
    expect(await lineOf(checkNamespaces, 'subordinate-ids')).toMatch(/^pass: 65536 users and groups/);
    expect(await lineOf(checkNamespaces, 'user-network')).toMatch(/^pass/);
    put('proc/self/mountinfo', '9 8 0:1 / /proc rw - proc proc rw\n10 9 0:2 / /proc/kcore rw - tmpfs t rw\n');
    expect(await lineOf(checkNamespaces, 'user-namespaces')).toMatch(/^warn: \/proc\/kcore is covered/);
  });

  it('the kernel has them all', async () => {
    mkdirSync(join(root, 'proc/self/ns'), { recursive: true });
    for (const name of ['ipc', 'mnt', 'pid', 'uts', 'net', 'user', 'cgroup'])
      symlinkSync(readlinkSync('/proc/self/ns/mnt'), join(root, 'proc/self/ns', name));
    expect(await lineOf(checkNamespaces, 'namespaces')).toMatch(/^pass/);
  });

  it('ulimits that are too low', async () => {
    put(
      'proc/self/limits',
      'Max open files 256 256 files\nMax processes 100 100 processes\nMax locked memory 65536 65536 bytes\n',
    );
    expect(await lineOf(checkLimits, 'limit-nofile')).toMatch(/^warn: 256 .*ulimit -n/);
    expect(await lineOf(checkLimits, 'limit-nproc')).toMatch(/^warn: 100 .*ulimit -u/);
    expect(await lineOf(checkLimits, 'limit-memlock')).toMatch(/^pass: 64 KiB/);
  });

  it('the kind of container, the CI that it is of, and what root lacks in it', async () => {
    put('proc/self/status', 'CapEff:\t00000000a80425fb\nSeccomp:\t2\n');
    host = { ...host, env: { GITLAB_CI: 'true' } };
    expect(await lineOf(checkContainer, 'container')).toMatch(/GitLab CI/);
    if (process.geteuid?.() === 0)
      expect(await lineOf(checkContainer, 'capabilities')).toMatch(
        /^warn: root lacks NET_ADMIN, SYS_ADMIN .*--cap-add/,
      );
    expect(await lineOf(checkContainer, 'seccomp')).toMatch(/^pass: on/);
  });

  it('security modules', async () => {
    expect(await lineOf(checkSecurityModules, 'security-module')).toMatch(/neither is active/);
    put('sys/module/apparmor/parameters/enabled', 'Y\n');
    put('proc/self/attr/current', 'docker-default (enforce)\n');
    expect(await lineOf(checkSecurityModules, 'security-module')).toMatch(
      /^warn: docker-default .*apparmor=unconfined/,
    );
    put('sys/fs/selinux/enforce', '1');
    expect(await lineOf(checkSecurityModules, 'security-module')).toMatch(/^pass: enforcing/);
  });
});

describe('networks', () => {
  it('no forwarding, filtered bridges', async () => {
    put('proc/sys/net/ipv4/ip_forward', '0\n');
    put('proc/sys/net/bridge/bridge-nf-call-iptables', '1\n');
    expect(await lineOf(checkForwarding, 'ip-forward')).toMatch(/^warn: .* sysctl -w net.ipv4.ip_forward=1/);
    expect(await lineOf(checkForwarding, 'bridge-netfilter')).toMatch(/^warn: .*FORWARD drop/);
  });

  it('no firewall tools, no dnsmasq', async () => {
    programs({});
    expect(await lineOf(checkFirewall, 'firewall')).toMatch(/^warn: neither iptables nor nft/);
    expect(await lineOf(checkDnsmasq, 'dnsmasq')).toMatch(/^warn: not installed/);
  });

  it('with one MAC address for two domains, of any driver', async () => {
    const card = (mac: string): string =>
      `<domain><devices><interface type='user'><mac address='${mac}'/></interface></devices></domain>`;
    expect(await lineOf(checkMacAddresses, 'mac-addresses')).toMatch(/^pass: those of 0 domains differ/);
    put('etc/libvirt/qemu/web.xml', card('52:54:00:AA:00:01'));
    put('etc/libvirt/qemu/other.xml', card('52:54:00:aa:00:02'));
    expect(await lineOf(checkMacAddresses, 'mac-addresses')).toMatch(/^pass: those of 2 domains differ/);
    put('etc/libvirt/lxc/box.xml', card('52:54:00:aa:00:01'));
    expect(await lineOf(checkMacAddresses, 'mac-addresses')).toMatch(
      /^warn: domains box, web have 52:54:00:aa:00:01 \| .*same IP address.* \| virsh edit web/,
    );
    put('etc/libvirt/lxc/box.xml', card('52:54:00:aa:00:03'));
    put('etc/nestling/lxc/farm.xml', card('52:54:00:aa:00:03'));
    expect(await lineOf(checkMacAddresses, 'mac-addresses')).toMatch(/^warn: domains box, farm have 52:54:00:aa:00:03/);
    put('etc/libvirt/lxc/box.xml', card('52:54:00:aa:00:04') + card('52:54:00:aa:00:04'));
    expect(await lineOf(checkMacAddresses, 'mac-addresses')).toMatch(/^warn: domain box has 52:54:00:aa:00:04 twice/);
  });

  it('rules of both families, or tools of another than the kernel has', async () => {
    const unshare = 'shift; exec "$@"';
    const iptables = 'case "$1" in --version) echo "iptables v1.8.9 (nf_tables)";; *) exit ${BROKEN:-0};; esac';
    programs({ unshare, iptables, nft: 'exit 0' });
    expect(await lineOf(checkFirewall, 'firewall')).toMatch(/^pass: iptables is nf_tables, nft works/);
    put('proc/net/ip_tables_names', 'nat\nfilter\n');
    const saved = "printf '*filter\\n:FORWARD DROP [0:0]\\nCOMMIT\\n'";
    programs({ unshare, iptables, nft: 'exit 0', 'iptables-legacy': 'exit 0', 'iptables-legacy-save': saved });
    expect(await lineOf(checkFirewall, 'firewall')).toMatch(/^warn: .*FORWARD/);
    rmSync(join(root, 'proc/net/ip_tables_names'));
    programs({ unshare, iptables, nft: 'exit 0', 'iptables-legacy': 'exit 0' });
    vi.stubEnv('BROKEN', '3');
    expect(await lineOf(checkFirewall, 'firewall')).toMatch(/^warn: .*cannot list the nat table .*iptables-legacy/);
  });
});

describe('services', () => {
  it('virtlockd is asked for only where the configuration wants it', async () => {
    programs({});
    expect(await findingOf(checkServices, 'virtlockd')).toBeUndefined();
    put('etc/libvirt/qemu.conf', '#lock_manager = "sanlock"\nlock_manager = "lockd"\n');
    expect(await lineOf(checkServices, 'virtlockd')).toMatch(/^warn: does not run .*virtlockd --daemon/);
    put('proc/77/comm', 'virtlockd\n');
    expect(await lineOf(checkServices, 'virtlockd')).toMatch(/^pass: runs/);
  });

  it('that have died and left their sockets are told', async () => {
    programs({});
    expect(await lineOf(checkServices, 'libvirtd')).toMatch(/^pass: not installed/);
    put('run/libvirtd.pid', '4194304');
    expect(await lineOf(checkServices, 'libvirtd')).toMatch(/^warn: does not run, and has left .*libvirtd.pid .*rm -f/);
  });
});

describe('programs and paths', () => {
  it('without QEMU nothing starts', async () => {
    programs({});
    expect(await lineOf(checkPrograms, 'emulator')).toMatch(/^fail: there is no qemu-system/);
    expect(await findingOf(checkFirmware, 'firmware')).toBeDefined();
  });

  it('a passt that is known not to work is told', async () => {
    programs({ passt: 'echo "passt 0.0~git20230309.7c7625d-1"', 'qemu-img': '' });
    expect(await lineOf(checkPrograms, 'passt')).toMatch(/^warn: /);
    expect(await lineOf(checkPrograms, 'qemu-img')).toMatch(/^pass: /);
  });

  it('a TMPDIR that leaves no room for sockets', async () => {
    host = { ...host, env: { TMPDIR: `/tmp/${'x'.repeat(70)}` } };
    expect(await lineOf(checkSocketPaths, 'tmpdir-length')).toMatch(/^warn: 75 bytes long/);
    expect(await lineOf(checkSocketPaths, 'socket-paths')).toMatch(/of 107 bytes/);
  });
});
