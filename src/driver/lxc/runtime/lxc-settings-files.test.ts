import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadLxcSettings } from './lxc-settings-files.ts';

it('reads what is there, the more special last', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'lxc-conf-'));
  try {
    expect(await loadLxcSettings({ root: dir, uid: 0, etc: dir, env: {} })).toEqual({ config: {}, notes: [] });
    mkdirSync(join(dir, 'nestling'));
    mkdirSync(join(dir, 'etc'));
    writeFileSync(join(dir, 'nestling/lxc.conf'), 'cgroup_layout = "machine"\ncgroup_controllers = ["memory"]\n');
    writeFileSync(join(dir, 'etc/lxc.conf'), 'cgroup_layout = "inherit"\nlog_with_libvirtd = 1\n');
    const { config, notes } = await loadLxcSettings({ root: dir, uid: 0, etc: dir, env: {} });
    expect(config).toEqual({ cgroupLayout: 'inherit', cgroupControllers: ['memory'] });
    expect(notes).toEqual([expect.stringContaining('log_with_libvirtd has no effect')]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
