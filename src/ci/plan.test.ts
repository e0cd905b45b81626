/** What is planned for containers of many kinds, from facts that are given. */
import { describe, expect, it } from 'vitest';
import type { CgroupHost } from '../cgroup/host.ts';
import { type CiFacts, type DeviceNode, readLockManager, tablesWithRules } from './facts.ts';
import { type CiOptions, planCi } from './plan.ts';
import { type CiStep, formatAction } from './step.ts';

const ABSENT: DeviceNode = { exists: false, mode: 0, uid: 0, gid: 0 };
const V1: CgroupHost = {
  mode: 'v1',
  hierarchies: [
    {
      version: 1,
      controllers: ['memory'],
      mountPoint: '/x',
      mountRoot: '/',
      ownPath: '/',
      ownDirectory: '/x',
      readOnly: false,
      writable: true,
    },
  ],
  namespace: 'host',
  systemd: false,
  disabled: [],
};
const NO_CGROUPS: CgroupHost = { ...V1, mode: 'none', hierarchies: [] };

/** A bare container with everything installed, on a kernel that has everything. */
const BARE: CiFacts = {
  uid: 0,
  container: 'docker',
  groups: new Map([['root', 0]]),
  users: new Map([['ci', 1000]]),
  members: new Map(),
  kvm: ABSENT,
  tun: ABSENT,
  misc: ['kvm', 'tun'],
  ipForward: false,
  iptables: {
    family: 'nft',
    alternative: '/usr/sbin/iptables-nft',
    alternative6: '/usr/sbin/ip6tables-nft',
    legacy: true,
    nft: true,
    tables: { legacy: [], nft: [] },
  },
  programs: new Set(
    'dbus-daemon virtlogd virtlockd libvirtd virsh groupadd useradd usermod update-alternatives'.split(' '),
  ),
  answering: new Set(),
  stale: new Map(),
  lockManager: undefined,
  cgroups: V1,
};
const NOTHING: CiOptions = { kvm: false, firewall: false, services: false, cgroups: false, moveForeign: false };

function plan(facts: Partial<CiFacts>, options: Partial<CiOptions>): CiStep[] {
  return planCi({ ...BARE, ...facts }, { ...NOTHING, ...options });
}
function step(steps: readonly CiStep[], id: string): CiStep {
  const found = steps.find((candidate) => candidate.id === id);
  if (found === undefined) throw new Error(`no step ${id} among ${steps.map((one) => one.id).join(', ')}`);
  return found;
}
const lines = ({ actions }: CiStep): string[] => actions.map(formatAction);

describe('groups', () => {
  it('are made where they are missing, and the user gets into those that lack them', () => {
    const steps = plan({ groups: new Map([['kvm', 104]]), members: new Map([['kvm', ['ci']]]) }, { user: 'ci' });
    expect(steps.map(({ id, done }) => [id, done])).toEqual([
      ['group-kvm', true],
      ['group-libvirt', false],
      ['user-groups', false],
    ]);
    const user = step(steps, 'user-groups');
    expect(lines(user)).toEqual(['usermod -aG libvirt ci']);
    // The group that ci was in before stays ci's.
    expect(user.undo.map(formatAction)).toEqual(['gpasswd -d ci libvirt']);
  });

  it('of a user who does not exist are refused, and so is what no program is there for', () => {
    expect(step(plan({}, { user: 'nobody-here' }), 'user-groups').refusal).toMatch(/useradd/);
    expect(step(plan({ programs: new Set() }, { kvm: true }), 'group-kvm').refusal).toMatch(/apt-get install passwd/);
  });
});

describe('device nodes', () => {
  it('are made, tried, and taken away again', () => {
    const kvm = step(plan({}, { kvm: true }), 'node-kvm');
    expect(lines(kvm)).toEqual([
      'mknod /dev/kvm c 10 232',
      'chown root:kvm /dev/kvm',
      'chmod 0660 /dev/kvm',
      ': <> /dev/kvm',
    ]);
    expect(kvm.undo.map(formatAction)).toEqual(['rm -f /dev/kvm']);
    expect(kvm.fix).toMatch(/--device \/dev\/kvm/);
    expect(lines(step(plan({}, { kvm: true }), 'node-tun'))).toContain('mknod /dev/net/tun c 10 200');
  });

  it.each([
    ['root:root 600', { mode: 0o600, uid: 0, gid: 0 }, false],
    ['root:kvm 660', { mode: 0o660, uid: 0, gid: 104 }, true],
    ['root:other 660', { mode: 0o660, uid: 0, gid: 7 }, false],
    ['nobody:nogroup 666', { mode: 0o666, uid: 65534, gid: 65534 }, true],
  ])('of /dev/kvm that is there as %s', (_, node, done) => {
    const kvm = step(
      plan({ kvm: { exists: true, ...node }, groups: new Map([['kvm', 104]]) }, { kvm: true }),
      'node-kvm',
    );
    expect(kvm.done).toBe(done);
    expect(kvm.undo.map(formatAction)[0]).toBe(`chown ${node.uid}:${node.gid} /dev/kvm`);
    // Nobody else may open it, whatever it was before.
    for (const line of lines(kvm)) expect(line).not.toMatch(/chmod 0?666/);
  });

  it('are refused where the kernel has no such device', () => {
    const steps = plan({ misc: [] }, { kvm: true });
    expect(step(steps, 'node-kvm')).toMatchObject({ actions: [], refusal: expect.stringContaining('--accel tcg') });
    expect(step(steps, 'node-tun').refusal).toMatch(/modprobe tun/);
  });
});

describe('firewall', () => {
  const iptables = BARE.iptables;
  it.each([
    ['nft that works', { ...iptables }, true, []],
    ['legacy that works', { ...iptables, family: 'legacy' as const }, true, []],
    [
      'nft that the kernel refuses',
      { ...iptables, nft: false },
      false,
      [
        'update-alternatives --set iptables /usr/sbin/iptables-legacy',
        'update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy',
      ],
    ],
    [
      'legacy that the kernel refuses, without IPv6',
      {
        ...iptables,
        family: 'legacy' as const,
        legacy: false,
        alternative: '/usr/sbin/iptables-legacy',
        alternative6: undefined,
      },
      false,
      ['update-alternatives --set iptables /usr/sbin/iptables-nft'],
    ],
  ])('%s', (_, given, done, expected) => {
    const firewall = step(plan({ iptables: given }, { firewall: true }), 'firewall');
    expect([firewall.done, firewall.refusal, lines(firewall)]).toEqual([done, undefined, expected]);
    if (!done) expect(firewall.undo.map(formatAction)[0]).toContain(given.alternative);
  });

  it.each([
    ['none installed', { ...iptables, family: undefined }, /apt-get install iptables/],
    ['no family works', { ...iptables, legacy: false, nft: false }, /--cap-add NET_ADMIN/],
    ['nothing to switch it with', { ...iptables, nft: false, alternative: undefined }, /cannot be switched/],
  ])('%s: refused', (_, given, refusal) => {
    expect(step(plan({ iptables: given }, { firewall: true }), 'firewall').refusal).toMatch(refusal);
  });

  it.each([
    ['nft', 'legacy'],
    ['legacy', 'nft'],
  ] as const)('%s while there are %s rules: told, and nobody touches them', (family, other) => {
    const tables = { legacy: [], nft: [], [other]: ['nat', 'filter'] };
    const firewall = step(plan({ iptables: { ...iptables, family, tables } }, { firewall: true }), 'firewall');
    expect(firewall).toMatchObject({ done: true, actions: [] });
    expect(firewall.note).toContain(`there are ${other} tables too (nat, filter)`);
    expect(firewall.note).toContain(`iptables-${other}-save`);
    // Its own tables are no news.
    const own = { legacy: [], nft: [], [family]: ['nat'] };
    expect(step(plan({ iptables: { ...iptables, family, tables: own } }, { firewall: true }), 'firewall').note).toBe(
      undefined,
    );
  });

  it('tables with rules are told from empty ones', () => {
    const saved = '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n';
    expect(tablesWithRules(saved)).toEqual(['nat']);
    expect(tablesWithRules('')).toEqual([]);
  });

  it('forwarding is switched on once', () => {
    expect(step(plan({}, { firewall: true }), 'ip-forward').done).toBe(false);
    expect(step(plan({ ipForward: true }, { firewall: true }), 'ip-forward').done).toBe(true);
  });
});

describe('services', () => {
  it('come in the order in which they need each other, after groups and cgroups', () => {
    const ids = plan({}, { services: true, cgroups: true }).map(({ id }) => id);
    expect(ids).toEqual([
      'group-kvm',
      'group-libvirt',
      'cgroups',
      'user-libvirt-qemu',
      'service-dbus-daemon',
      'service-virtlogd',
      'service-libvirtd',
    ]);
  });

  it('have virtlockd among them only where the configuration names it, before the daemon that asks it', () => {
    const ids = plan({ lockManager: 'lockd' }, { services: true }).map(({ id }) => id);
    expect(ids.slice(-3)).toEqual(['service-virtlogd', 'service-virtlockd', 'service-libvirtd']);
    expect(plan({ lockManager: 'sanlock' }, { services: true }).map(({ id }) => id)).not.toContain('service-virtlockd');
    expect(readLockManager('#lock_manager = "lockd"\nmax_files = 10\n')).toBeUndefined();
    expect(readLockManager('lock_manager = "lockd"\n')).toBe('lockd');
    expect(readLockManager('lock_manager = [\n')).toBeUndefined();
  });

  it('clear away what dead ones left, and only that', () => {
    const steps = plan({ stale: new Map([['libvirtd', ['/run/libvirt/libvirt-sock']]]) }, { services: true });
    expect(lines(step(steps, 'service-libvirtd'))).toEqual(['rm -f /run/libvirt/libvirt-sock', 'libvirtd']);
    expect(lines(step(steps, 'service-virtlogd'))).toEqual(['virtlogd']);
  });

  it('that answer are left alone', () => {
    const steps = plan({ answering: new Set(['/run/dbus/system_bus_socket']) }, { services: true });
    expect(step(steps, 'service-dbus-daemon').done).toBe(true);
    expect(step(steps, 'service-virtlogd').done).toBe(false);
  });

  it('are the modular ones where libvirtd is not installed, as far as they are', () => {
    const programs = new Set(['dbus-daemon', 'virtlogd', 'virtqemud', 'virtnetworkd', 'useradd']);
    const ids = plan({ programs }, { services: true }).map(({ id }) => id);
    expect(ids.slice(-3)).toEqual(['service-virtlogd', 'service-virtnetworkd', 'service-virtqemud']);
  });

  it('that are not installed are refused with their package', () => {
    const refusals = plan({ programs: new Set(['useradd']) }, { services: true }).map(({ refusal }) => refusal);
    expect(refusals.slice(-3)).toEqual([
      'dbus-daemon is not installed: apt-get install dbus',
      'virtlogd is not installed: apt-get install libvirt-daemon-system',
      'libvirtd is not installed: apt-get install libvirt-daemon-system',
    ]);
  });
});

it('cgroups that need nothing are done, and those that cannot be had are refused with the rule', () => {
  expect(step(plan({}, { cgroups: true }), 'cgroups')).toMatchObject({ done: true });
  const refused = step(plan({ cgroups: NO_CGROUPS }, { cgroups: true }), 'cgroups');
  expect(refused).toMatchObject({ done: false, refusal: expect.stringContaining('mount -t cgroup2') });
});
