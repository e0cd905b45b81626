import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseSettings, QEMU_SETTINGS } from './settings.ts';
import { loadSettings, settingsFiles } from './settings-files.ts';

describe('qemu.conf', () => {
  it('sets what has a meaning here', () => {
    const { config, log, notes } = parseSettings(
      'vnc_listen = "0.0.0.0"\nvnc_tls = 1\ncgroup_controllers = []\nmax_core = "unlimited"\nseccomp_sandbox = 0\nlog_filters = "1:qemu"\nlog_level = 2\nhugetlbfs_mount = "/hp"\ncgroup_layout = "machine"\nuser = "+0"\nsecurity_driver = "none"\nremember_owner = 0',
      'f',
    );
    expect(config).toEqual({
      vncListen: '0.0.0.0',
      vncTls: true,
      cgroupControllers: [],
      maxCore: 'unlimited',
      seccompSandbox: 0,
      hugetlbfsMount: ['/hp'],
      cgroupLayout: 'machine',
      user: '+0',
      securityDrivers: ['none'],
      rememberOwner: false,
    });
    expect(log).toEqual({ filters: '1:qemu', level: '2' });
    expect(notes).toEqual([]);
  });

  it('takes pairs of firmware and variables, and no wish for what happens anyway as one', () => {
    const { config, notes } = parseSettings(
      'nvram = [ "/a:/b", "/c:/d" ]\nsave_image_format = "zstd"\nsnapshot_image_format = "gzip"\nnamespaces = []',
      'f',
    );
    expect(config).toEqual({ firmwares: { '/a': '/b', '/c': '/d' }, saveImageFormat: 'zstd' });
    expect(notes).toEqual([expect.stringMatching(/^f:3: snapshot_image_format has no effect/)]);
  });

  it('says what has none, and what there is not, with the nearest name', () => {
    const { notes } = parseSettings('mac_filter = 1\nsecurity_driver = "none"\nvnc_listn = "x"\nqwertz = 1', 'f');
    expect(notes).toEqual([
      expect.stringMatching(/^f:1: mac_filter has no effect: /),
      "f:3: there is no setting 'vnc_listn'; did you mean 'vnc_listen'?",
      "f:4: there is no setting 'qwertz'",
    ]);
  });

  it.each([
    ['vnc_tls = "yes"', /^f:1: vnc_tls takes 0 or 1$/],
    ['cgroup_controllers = "cpu"', /takes a list of texts/],
    ['cgroup_controllers = [ "cpu", "net" ]', /takes "cpu", "devices".*, not "net"/],
    ['max_files = "many"', /takes a whole number/],
    ['cgroup_layout = "legacy"', /takes "inherit", "machine", "systemd", not "legacy"/],
    ['security_driver = [ "selinux", "smack" ]', /takes "selinux", "apparmor", "dac", "none", not "smack"/],
    ['nvram = [ "/code:/vars", "/code" ]', /pairs of paths, "\/FIRMWARE:\/VARIABLES", not "\/code"/],
    ['max_core = "some"', /takes "unlimited", not "some"/],
  ])('%s is refused', (text, words) => expect(() => parseSettings(text, 'f')).toThrow(words));

  const sample = '/etc/libvirt/qemu.conf';
  if (!existsSync(sample)) process.stderr.write(`\nSKIPPED: no ${sample} to compare with\n\n`);
  it.skipIf(!existsSync(sample))("knows every key of libvirt's own sample, and takes its values", () => {
    // Samples are commented out; those that are lists end with a line of their own, or begin one and are left out.
    const text = readFileSync(sample, 'utf8')
      .split('\n')
      .flatMap((line) => /^#([a-z_0-9]+ = .*[^[])$/.exec(line)?.[1] ?? []);
    const samples = [...new Map(text.map((line) => [line.split(' ')[0], line])).values()];
    expect(samples.length).toBeGreaterThan(75);
    const { notes } = parseSettings(samples.join('\n'), sample);
    expect(notes.filter((note) => note.includes('there is no setting'))).toEqual([]);
    const keys = [...readFileSync(sample, 'utf8').matchAll(/^#([a-z_0-9]+) = /gm)].map((match) => match[1] ?? '');
    expect(keys.filter((key) => !Object.hasOwn(QEMU_SETTINGS, key))).toEqual([]);
  });
});

describe('places', () => {
  it('are the host, the session and the root, the last the strongest', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'settings-'));
    try {
      const places = { root: join(folder, 'root'), uid: 0, etc: join(folder, 'etc'), env: { HOME: '/h' } };
      expect(await loadSettings(places)).toBeUndefined();
      mkdirSync(join(folder, 'etc/nestling'), { recursive: true });
      mkdirSync(join(folder, 'root/etc/qemu'), { recursive: true });
      writeFileSync(join(folder, 'etc/nestling/qemu.conf'), 'vnc_listen = "a"\nmax_files = 1');
      writeFileSync(join(folder, 'root/etc/qemu/qemu.conf'), 'vnc_listen = "b"');
      expect((await loadSettings(places))?.config).toEqual({ vncListen: 'b', maxFiles: 1 });
      expect(settingsFiles({ uid: 1000, env: { HOME: '/h' } })).toEqual(['/h/.config/nestling/qemu.conf']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
