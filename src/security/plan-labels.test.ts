import { describe, expect, it } from 'vitest';
import type { HostSecurity } from './host-security.ts';
import type { GuestLabel, GuestResource } from './label-plan.ts';
import { type LabelRequest, planLabels } from './plan-labels.ts';
import { needsLabels, primaryModel, type SecuritySettings } from './security-settings.ts';
import { readUserNames } from './user-names.ts';

const SETTINGS: SecuritySettings = {
  drivers: [],
  dynamicOwnership: true,
  rememberOwner: true,
  defaultConfined: true,
  requireConfined: false,
};
const ROOT: HostSecurity = { uid: 0, gid: 0 };
const SELINUX: HostSecurity = {
  ...ROOT,
  selinux: {
    ownContext: 'system_u:system_r:virtd_t:s0-s0:c0.c1023',
    kvmContext: 'system_u:system_r:svirt_t:s0',
    tcgContext: 'system_u:system_r:svirt_tcg_t:s0',
    fileContext: 'system_u:object_r:svirt_image_t:s0',
    contentContext: 'system_u:object_r:virt_content_t:s0',
  },
};
const APPARMOR: HostSecurity = {
  ...ROOT,
  apparmor: { selfConfined: false, attribute: '/proc/self/attr/apparmor/exec', abstraction: true },
};
const ENTRIES: Readonly<Record<string, string>> = {
  'passwd qemu': 'qemu:x:107:108::/:/bin/false',
  'passwd 107': 'qemu:x:107:108::/:/bin/false',
  'group kvm': 'kvm:x:36:qemu',
};
const names = readUserNames({
  etc: '/nonexistent',
  ask: (database, key) => ENTRIES[`${database} ${key}`],
});
const RESOURCES: GuestResource[] = [
  { path: '/disk', kind: 'disk' },
  { path: '/base', kind: 'backing file', readonly: true },
  { path: '/iso', kind: 'disk', readonly: true },
  { path: '/both', kind: 'disk', shareable: true },
  { path: '/kernel', kind: 'kernel', readonly: true },
  { path: '/run/domain-1', kind: 'directory', own: true },
];

function plan(
  init: {
    settings?: Partial<SecuritySettings>;
    host?: HostSecurity;
    labels?: GuestLabel[];
    resources?: GuestResource[];
    running?: boolean;
  },
  kvm = true,
): ReturnType<typeof planLabels> {
  const request: LabelRequest = {
    settings: { ...SETTINGS, ...init.settings },
    host: init.host ?? ROOT,
    names,
    guest: { name: 'g', uuid: 'a-b', kvm, labels: init.labels ?? [], running: init.running },
    resources: init.resources ?? RESOURCES,
    reserveLevel: () => 's0:c107,c392',
  };
  return planLabels(request);
}
const labelsOf = ({ actions }: ReturnType<typeof planLabels>, model: string): Record<string, string> =>
  Object.fromEntries(actions.filter((action) => action.model === model).map(({ path, label }) => [path, label]));

it('has nothing to do where nobody asks', () => {
  expect(plan({})).toEqual({ process: {}, actions: [], left: [], live: [], notes: [] });
  expect(needsLabels(SETTINGS, [])).toBe(false);
  expect(needsLabels({ ...SETTINGS, drivers: ['none'] }, [{ type: 'none', model: 'dac' }])).toBe(false);
  expect(needsLabels({ ...SETTINGS, user: '+0' }, [])).toBe(true);
  expect(needsLabels(SETTINGS, [{ type: 'static', model: 'dac', label: '1:1' }])).toBe(true);
});

it('has the module of the host, or the one of the settings', () => {
  const confined = { ...ROOT, apparmor: { selfConfined: true, attribute: '', abstraction: true } };
  expect(primaryModel({ drivers: 'probe' }, SELINUX)).toBe('selinux');
  expect(primaryModel({ drivers: 'probe' }, confined)).toBe('apparmor');
  expect(primaryModel({ drivers: 'probe' }, APPARMOR)).toBe('none');
  expect(primaryModel({ drivers: ['dac'] }, SELINUX)).toBe('none');
  expect(primaryModel({ drivers: ['none'] }, SELINUX)).toBe('none');
});

describe('ownership', () => {
  it('is the user of the settings, with its own group and those that list it', () => {
    const { process, live, actions } = plan({ settings: { user: 'qemu' } });
    expect(process).toEqual({ user: { uid: 107, gid: 108, supplementaryGroups: [108] } });
    expect(live).toEqual([
      { type: 'dynamic', model: 'dac', relabel: true, label: '+107:+108', imagelabel: '+107:+108' },
    ]);
    expect(actions.map(({ path, restore }) => `${path} ${restore}`)).toEqual([
      '/disk remembered',
      '/base remembered',
      '/iso remembered',
      '/both remembered',
      '/kernel remembered',
      '/run/domain-1 never',
    ]);
  });

  it("takes a guest's own label, and relabels for it only when asked", () => {
    const label: GuestLabel = { type: 'static', model: 'dac', label: 'qemu:kvm' };
    const still = plan({ labels: [label] });
    expect(still.process.user).toMatchObject({ uid: 107, gid: 36 });
    expect(labelsOf(still, 'dac')).toEqual({ '/run/domain-1': '+107:+36' });
    expect(still.live[0]).toEqual({ type: 'static', model: 'dac', relabel: false, label: '+107:+36' });
    expect(labelsOf(plan({ labels: [{ ...label, relabel: true }] }), 'dac')).toMatchObject({ '/disk': '+107:+36' });
  });

  it('leaves files where the settings, the guest, the device or the host say so', () => {
    const resources: GuestResource[] = [
      { path: '/a', kind: 'disk', seclabels: [{ model: 'dac', relabel: false }] },
      { path: '/b', kind: 'disk', seclabels: [{ label: '+5:+6' }] },
      { path: '/dev/urandom', kind: 'chardev' },
      { path: '/c', kind: 'disk', seclabels: [{ model: 'selinux', relabel: false }] },
    ];
    const some = plan({ settings: { user: '+107' }, resources });
    expect(labelsOf(some, 'dac')).toEqual({ '/b': '+5:+6', '/c': '+107:+108' });
    expect(some.left.map(({ path, why }) => `${path}: ${why}`)).toEqual([
      "/a: <seclabel relabel='no'/>",
      '/dev/urandom: others on this host use it',
    ]);
    expect(labelsOf(plan({ settings: { user: '+107', dynamicOwnership: false } }), 'dac')).toEqual({
      '/run/domain-1': '+107:+108',
    });
    const none = plan({ settings: { user: '+107' }, labels: [{ type: 'none', model: 'dac' }] });
    expect(none.process.user?.uid).toBe(107);
    expect(labelsOf(none, 'dac')).toEqual({ '/run/domain-1': '+107:+108' });
  });

  it('without memory gives back to root what is one guest alone has, as libvirt', () => {
    const { actions } = plan({ settings: { user: 'qemu', rememberOwner: false } });
    expect(actions.map(({ path, restore }) => `${path} ${restore}`)).toEqual([
      '/disk default',
      '/base never',
      '/iso never',
      '/both never',
      '/kernel never',
      '/run/domain-1 never',
    ]);
  });

  it('gives a helper its own files, whoever runs QEMU', () => {
    const tpm: GuestResource = { path: '/tpm', kind: 'tpm state', own: true, owner: { uid: 9, gid: 9 } };
    expect(plan({ resources: [{ path: '/disk', kind: 'disk' }, tpm] }).actions).toEqual([
      { model: 'dac', path: '/tpm', label: '+9:+9', tree: true, optional: false, restore: 'never' },
    ]);
    expect(labelsOf(plan({ settings: { user: 'qemu' }, resources: [tpm] }), 'dac')).toEqual({ '/tpm': '+9:+9' });
  });

  it('needs root for another user, and none for its own', () => {
    const host = { uid: 107, gid: 108 };
    expect(plan({ host, settings: { user: 'qemu' } })).toMatchObject({ process: {}, actions: [] });
    expect(() => plan({ host, settings: { user: 'root' } })).toThrow("there is no user 'root'");
    expect(() => plan({ host, settings: { user: '+0', group: '+0' } })).toThrow(
      /cannot run guest g as 0:0: only root may change users, and this is qemu; take user and group out of qemu.conf/,
    );
  });

  it.each([
    ['qemu', /not USER:GROUP/],
    ['nobody:kvm', /there is no user 'nobody'/],
    ['+1:+99999999999', /no user or group id/],
  ])('refuses the label %s', (label, words) =>
    expect(() => plan({ labels: [{ type: 'static', model: 'dac', label }] })).toThrow(words),
  );
});

describe('SELinux', () => {
  it('gives each guest a context of its own, with KVM and without', () => {
    const found = plan({ host: SELINUX, settings: { drivers: ['selinux'] } });
    expect(found.process).toEqual({ selinux: 'system_u:system_r:svirt_t:s0:c107,c392' });
    expect(found.live).toEqual([
      {
        type: 'dynamic',
        model: 'selinux',
        relabel: true,
        label: 'system_u:system_r:svirt_t:s0:c107,c392',
        imagelabel: 'system_u:object_r:svirt_image_t:s0:c107,c392',
      },
    ]);
    expect(labelsOf(found, 'selinux')).toEqual({
      '/disk': 'system_u:object_r:svirt_image_t:s0:c107,c392',
      '/base': 'system_u:object_r:virt_content_t:s0',
      '/iso': 'system_u:object_r:virt_content_t:s0',
      '/both': 'system_u:object_r:svirt_image_t:s0',
      '/kernel': 'system_u:object_r:virt_content_t:s0',
      '/run/domain-1': 'system_u:object_r:svirt_image_t:s0:c107,c392',
    });
    expect(plan({ host: SELINUX, settings: { drivers: 'probe' } }, false).process.selinux).toBe(
      'system_u:system_r:svirt_tcg_t:s0:c107,c392',
    );
  });

  it('keeps a base, a static label, and what devices say', () => {
    const base: GuestLabel = { type: 'dynamic', model: 'selinux', baselabel: 'a:b:custom_t:s0' };
    expect(plan({ host: SELINUX, labels: [base] }).live[0]).toMatchObject({
      label: 'system_u:system_r:custom_t:s0:c107,c392',
      baselabel: 'a:b:custom_t:s0',
    });
    const fixed: GuestLabel = { type: 'static', model: 'selinux', label: 'u:r:mine_t:s0:c1,c2' };
    expect(plan({ host: SELINUX, labels: [fixed] })).toMatchObject({
      process: { selinux: 'u:r:mine_t:s0:c1,c2' },
      actions: [],
    });
    const relabelled = plan({ host: SELINUX, labels: [{ ...fixed, relabel: true }] });
    expect(labelsOf(relabelled, 'selinux')['/disk']).toBe('u:object_r:svirt_image_t:s0:c1,c2');
    const resources: GuestResource[] = [
      { path: '/a', kind: 'disk', seclabels: [{ model: 'selinux', relabel: false }] },
      { path: '/b', kind: 'disk', seclabels: [{ model: 'selinux', label: 'u:r:t:s0' }] },
    ];
    expect(labelsOf(plan({ host: SELINUX, settings: { drivers: ['selinux'] }, resources }), 'selinux')).toEqual({
      '/b': 'u:r:t:s0',
    });
  });

  it('takes a pair of its own where the definition is printed from a running guest, and keeps that of its own', () => {
    const printed: GuestLabel = { type: 'dynamic', model: 'selinux', label: 'u:r:svirt_t:s0:c5,c6', imagelabel: 'x' };
    expect(plan({ host: SELINUX, labels: [printed] }).process.selinux).toMatch(/s0:c107,c392$/);
    const own = { ...printed, imagelabel: 'u:object_r:svirt_image_t:s0:c5,c6' };
    const running = plan({ host: SELINUX, labels: [own], running: true });
    expect(running.process.selinux).toMatch(/s0:c5,c6$/);
    expect(labelsOf(running, 'selinux')['/disk']).toMatch(/s0:c5,c6$/);
  });

  it('never takes back what others may have open', () => {
    const { actions } = plan({ host: SELINUX, settings: { drivers: ['selinux'] } });
    expect(actions.filter(({ restore }) => restore === 'remembered').map(({ path }) => path)).toEqual([
      '/disk',
      '/kernel',
    ]);
  });

  it('is refused where there is none', () => {
    expect(() => plan({ settings: { drivers: ['selinux'] } })).toThrow(
      /security_driver of qemu.conf asks for selinux, but SELinux is not enabled on this host: set it to "none"/,
    );
    expect(() => plan({ labels: [{ type: 'dynamic', model: 'selinux' }] })).toThrow(/<seclabel> of guest g asks for/);
    expect(plan({ labels: [{ type: 'none', model: 'selinux' }] }).process).toEqual({});
    expect(() => plan({ labels: [{ model: 'smack' }] })).toThrow(/there is no such model/);
  });
});

describe('AppArmor', () => {
  it('names the profile as libvirt, and writes one line for each file', () => {
    const { process, profile, live } = plan({ host: APPARMOR, settings: { drivers: ['apparmor'] } });
    expect(process).toEqual({ apparmor: 'libvirt-a-b' });
    expect(live[0]).toMatchObject({ label: 'libvirt-a-b', imagelabel: 'libvirt-a-b' });
    expect(profile?.text.split('\n')).toEqual([
      '#include <tunables/global>',
      'profile libvirt-a-b flags=(attach_disconnected) {',
      '  #include <abstractions/libvirt-qemu>',
      '  "/disk" rwk,',
      '  "/base" rk,',
      '  "/iso" rk,',
      '  "/both" rwk,',
      '  "/kernel" rk,',
      '  "/run/domain-1"{,/**} rwk,',
      '}',
      '',
    ]);
  });

  it('writes names so that they stand for themselves', () => {
    const resources: GuestResource[] = [{ path: '/a[1] {x}*.img', kind: 'disk' }];
    const { profile } = plan({ host: APPARMOR, settings: { drivers: ['apparmor'] }, resources });
    expect(profile?.text).toContain('"/a\\[1\\] \\{x\\}\\*.img" rwk,');
    const bad: GuestResource[] = [{ path: '/a"\n/** rw,', kind: 'disk' }];
    expect(() => plan({ host: APPARMOR, settings: { drivers: ['apparmor'] }, resources: bad })).toThrow(/rename it/);
  });

  it('takes a profile of the administrator', () => {
    const labels: GuestLabel[] = [{ type: 'static', model: 'apparmor', label: 'my-guest' }];
    const found = plan({ host: APPARMOR, labels });
    expect(found.process).toEqual({ apparmor: 'my-guest' });
    expect(found.profile).toBeUndefined();
    expect(() => plan({ host: APPARMOR, labels: [{ ...labels[0], type: 'static', label: 'a b' }] })).toThrow(
      /no AppArmor/,
    );
  });
});

it('refuses unconfined guests where that is required', () => {
  expect(() => plan({ settings: { requireConfined: true, user: 'qemu' } })).toThrow(/no security driver is in use/);
  const settings = { drivers: ['selinux'], requireConfined: true };
  expect(plan({ host: SELINUX, settings }).process.selinux).toBeDefined();
  for (const labels of [[{ type: 'none', model: 'selinux' }], [{ type: 'none' }]] as GuestLabel[][]) {
    expect(() => plan({ host: SELINUX, settings, labels })).toThrow(/security_require_confined allows no such guest/);
  }
  expect(() => plan({ host: SELINUX, settings: { ...settings, defaultConfined: false } })).toThrow(
    /has no selinux label/,
  );
  expect(plan({ host: SELINUX, settings: { drivers: ['selinux'], defaultConfined: false } }).process).toEqual({});
});
