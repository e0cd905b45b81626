import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LXC_SETTINGS, parseLxcSettings } from './lxc-settings.ts';

describe('lxc.conf', () => {
  it('sets what has a meaning here, and says what has none', () => {
    const { config, notes } = parseLxcSettings(
      'security_driver = "apparmor"\nsecurity_default_confined = 0\nlog_with_libvirtd = 1\nsecurity_drver = "x"',
      'f',
    );
    expect(config).toEqual({ securityDriver: 'apparmor', securityDefaultConfined: false });
    expect(notes).toEqual([
      'f:3: log_with_libvirtd has no effect: containers write to logs of their own',
      "f:4: there is no setting 'security_drver'; did you mean 'security_driver'?",
    ]);
    expect(() => parseLxcSettings('security_driver = "smack"', 'f')).toThrow(/^f:1: security_driver takes "selinux"/);
    expect(() => parseLxcSettings('\nsecurity_require_confined = "yes"', 'f')).toThrow(/^f:2: .* takes 0 or 1$/);
  });

  it('says where the groups of containers lie', () => {
    const text = 'cgroup_layout = "machine"\ncgroup_controllers = ["memory", "pids"]';
    expect(parseLxcSettings(text, 'f').config).toEqual({
      cgroupLayout: 'machine',
      cgroupControllers: ['memory', 'pids'],
    });
    expect(() => parseLxcSettings('cgroup_layout = "legacy"', 'f')).toThrow(/^f:1: cgroup_layout takes "inherit"/);
  });

  const sample = '/etc/libvirt/lxc.conf';
  if (!existsSync(sample)) process.stderr.write(`\nSKIPPED: no ${sample} to compare with\n\n`);
  it.skipIf(!existsSync(sample))("knows every key of libvirt's own sample", () => {
    const keys = [...readFileSync(sample, 'utf8').matchAll(/^#([a-z_]+) = /gm)].map((match) => match[1] ?? '');
    expect(keys.length).toBeGreaterThan(2);
    expect(keys.filter((key) => !Object.hasOwn(LXC_SETTINGS, key))).toEqual([]);
  });
});
