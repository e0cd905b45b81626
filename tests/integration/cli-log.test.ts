/** The log and the settings as users of the command meet them. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, openLog } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';

const NESTLING = new URL('../../dist/cli.cjs', import.meta.url).pathname;
let folder: string;
let xml: string;
let guest: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cli-log-'));
  guest = join(folder, 'guest.xml');
  xml = domainXml({ name: 'logged', disks: [{ path: await bootSectorImage('poweroff'), readonly: true }] });
  writeFileSync(guest, xml.replace('</devices>', "<graphics type='vnc' passwd='hunter2' autoport='yes'/></devices>"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return spawnSync(NESTLING, args, { encoding: 'utf8', env: { ...process.env, ...env }, timeout: 30_000 });
}

describe('the log of a run', () => {
  it("has libvirt's form, every command and monitor line, and no secret", () => {
    const path = join(folder, 'debug.log');
    const { status, stderr } = run([
      'run',
      '--log-filters',
      '1:qemu 1:libvirt 1:util.command',
      '--log-outputs',
      `1:file:${path}`,
      guest,
    ]);
    expect([status, stderr]).toEqual([0, '']);
    const text = readFileSync(path, 'utf8');
    for (const line of text.trimEnd().split('\n')) {
      expect(line).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: \d+: (debug|info|warning|error) : /);
    }
    expect(text).toMatch(/debug : createXml:\d+ : conn=qemu:\/\/\/embed <XML of \d+ characters>/);
    expect(text).toMatch(/debug : spawnChild:\d+ : pid=\d+ \S*qemu-system-x86_64 /);
    expect(text).toMatch(/debug : execute:\d+ : mon=logged cmd=\{"execute":"qmp_capabilities"/);
    expect(text).toMatch(/event=.*"SHUTDOWN"/);
    expect(text).not.toContain('hunter2');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("listens to libvirt's environment, and writes JSON when asked to", () => {
    const path = join(folder, 'json.log');
    const env = { LIBVIRT_DEBUG: '1', LIBVIRT_LOG_FILTERS: '4:qemu 2:cgroup', LIBVIRT_LOG_OUTPUTS: `1:file:${path}` };
    expect(run(['run', '--log-format=json', guest], env).status).toBe(0);
    const lines = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { source?: string; level: string });
    expect(lines.some(({ source }) => source === 'util.command')).toBe(true);
    expect(lines.filter(({ source, level }) => source?.startsWith('qemu.') === true && level !== 'error')).toEqual([]);
  });

  it.each([
    [['--log-outputs', '1:printer'], /there is no 'printer'/],
    [['--log-filters', 'qemu'], /does not begin with a level/],
    [['--log-level', '9'], /no log level/],
    [['--log-format', 'xml'], /no log format/],
    [['--log-outputs', '1:file:/nowhere/at/all.log'], /ENOENT/],
    [['--log-filters'], /takes a value/],
  ])('%j is refused before anything is started', (options, words) => {
    const { status, stderr } = run(['run', guest, ...options]);
    expect([status, stderr]).toEqual([2, expect.stringMatching(words)]);
  });

  it('warns once of a filter that is about nothing', () => {
    const { stderr } = run(['run', '--log-filters', '3:nonsense', guest]);
    expect(stderr.match(/matches no source/g)).toHaveLength(1);
  });
});

describe('the library', () => {
  it('logs for one connection, or for all until told otherwise', async () => {
    const [one, all] = [join(folder, 'one'), join(folder, 'all')];
    {
      await using connection = await connect('qemu:///embed', {
        log: { filters: '1:libvirt', outputs: `1:file:${one}` },
      });
      await connection.listAllDomains();
    }
    using log = await openLog({ level: '1', outputs: `1:file:${all}` });
    await using connection = await connect('qemu:///embed');
    await connection.listAllDomains();
    log.setFilters('4:libvirt');
    await connection.listAllDomains();
    expect(readFileSync(one, 'utf8').match(/listDomains/g)).toHaveLength(1);
    expect(readFileSync(all, 'utf8').match(/listDomains/g)).toHaveLength(1);
  });
});

describe('the sources that troubleshooting texts name', () => {
  it.skipIf(process.getuid?.() !== 0)(
    'all speak in one session: a guest with limits as another user, watched over a socket',
    async () => {
      const path = join(folder, 'sources.log');
      // The other user passes.
      for (const above of [tmpdir(), folder]) chmodSync(above, 0o711);
      const disk = join(folder, 'own.img');
      copyFileSync(await bootSectorImage('halt'), disk);
      const limits = "<memtune><hard_limit unit='MiB'>300</hard_limit></memtune>";
      const limited = domainXml({ name: 'watched', disks: [{ path: disk }], extra: limits });
      {
        using _log = await openLog({ level: '1', outputs: `1:file:${path}`, format: 'json' });
        await using connection = await connect('qemu:///embed', { config: { user: '+65534', group: '+65534' } });
        const socket = join(folder, 'socket');
        await using _server = await connection.serve(socket);
        await using watcher = await connect(`qemu+unix:///system?socket=${socket}`);
        await using guest = await connection.createDomain(limited);
        expect((await watcher.listAllDomains()).map(({ name }) => name)).toEqual(['watched']);
        await guest.destroy();
      }
      const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
      // The first line tells the version, and has no source.
      const spoken = lines.flatMap((line) => (JSON.parse(line) as { source?: string }).source ?? []);
      expect(spoken).toContain('qemu.qemu_monitor');
      for (const filter of [
        'libvirt',
        'command',
        'cgroup',
        'qemu',
        'qemu_monitor_json',
        'locking',
        'security',
        'security_dac',
        'rpc',
        'event',
        'process',
        'capabilities',
        'domain',
      ]) {
        // As a filter matches: a part of the name.
        expect([filter, spoken.some((source) => source.includes(filter))]).toEqual([filter, true]);
      }
    },
  );

  it('of settings and of definitions speak where there is something to say', () => {
    const root = join(folder, 'spoken');
    mkdirSync(join(root, 'etc/qemu'), { recursive: true });
    writeFileSync(join(root, 'etc/qemu/qemu.conf'), 'max_files = 4321\n');
    const path = join(folder, 'spoken.log');
    const odd = join(folder, 'odd.xml');
    writeFileSync(odd, xml.replace('<devices>', '<devices><diks/>'));
    const { status } = run(['run', '--root', root, odd], { LIBVIRT_DEBUG: '1', LIBVIRT_LOG_OUTPUTS: `1:file:${path}` });
    expect(status).toBe(0);
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(/info : loadSettings:\d+ : \S+etc\/qemu\/qemu\.conf: maxFiles/);
    expect(text).toMatch(/warning : parseDomain:\d+ : .*diks/);
  });
});

describe('settings', () => {
  it('of the root count, and what has no effect is told', () => {
    const root = join(folder, 'root');
    mkdirSync(join(root, 'etc/qemu'), { recursive: true });
    const path = join(folder, 'settings.log');
    const conf = `vnc_listen = "127.0.0.2"\nmax_files = 4321\nlog_filters = "1:util.command"\nlog_outputs = "1:file:${path}"\nmac_filter = 1\nvnc_lisen = "x"\n`;
    writeFileSync(join(root, 'etc/qemu/qemu.conf'), conf);
    const { status, stderr } = run(['run', '--root', root, guest]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/qemu\.conf:5: mac_filter has no effect: /);
    expect(stderr).toMatch(/qemu\.conf:6: there is no setting 'vnc_lisen'; did you mean 'vnc_listen'\?/);
    expect(readFileSync(join(root, 'log/qemu/logged.log'), 'utf8')).toContain('127.0.0.2');
    expect(existsSync(path)).toBe(true);
  });

  it('keep the logs of transient guests, or do not', () => {
    const root = join(folder, 'transient');
    mkdirSync(join(root, 'etc/qemu'), { recursive: true });
    const log = join(root, 'log/qemu/logged.log');
    for (const [setting, isKept] of [
      ['keep_transient_logs = 1\n', true],
      ['keep_transient_logs = 0\n', false],
    ] as const) {
      writeFileSync(join(root, 'etc/qemu/qemu.conf'), setting);
      expect(run(['run', '--root', root, guest]).status).toBe(0);
      expect([setting, existsSync(log)]).toEqual([setting, isKept]);
    }
  });

  it('that are wrong stop the start, with file and line', () => {
    const root = join(folder, 'wrong');
    mkdirSync(join(root, 'etc/qemu'), { recursive: true });
    writeFileSync(join(root, 'etc/qemu/qemu.conf'), 'max_files = "many"\n');
    const { status, stderr } = run(['run', '--root', root, guest]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/qemu\.conf:1: max_files takes a whole number/);
  });
});
