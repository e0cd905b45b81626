/** The real virsh on containers of `nestling daemon`: definitions, states, limits, devices while they run, hooks, and daemons that are killed. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectCgroups } from '../../src/cgroup/detect.ts';
import { v2Hierarchy } from '../../src/cgroup/host.ts';
import { connect, type Domain } from '../../src/index.ts';
import { canRunContainers, makeBusyboxRoot, shellContainer } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { HOST_SETTINGS, writeSettings } from '../support/kernel-settings.ts';
import { pollUntil } from '../support/poll.ts';

const WAITING = 'while :; do sleep 0.1; done';

describe.skipIf(!canRunContainers())('virsh on containers of the daemon', () => {
  let folder = '';
  let rootfs = '';
  let daemon: TestDaemon;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-lxcd-'));
    rootfs = makeBusyboxRoot(folder);
    daemon = await startDaemon();
  });

  afterAll(async () => {
    for (const name of virsh('list --name').split('\n').filter(Boolean)) virsh(`destroy ${name}`);
    await daemon[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  function tryVirsh(line: string, env: NodeJS.ProcessEnv = {}): { status: number | null; words: string } {
    const uri = daemon.uri.replace(/^qemu/, 'lxc');
    const { status, stdout, stderr } = spawnSync('virsh', ['-q', '-c', uri, ...line.split(' ')], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      timeout: 30_000,
    });
    return { status, words: `${stdout}${stderr}`.trim() };
  }

  function virsh(line: string, env: NodeJS.ProcessEnv = {}): string {
    const { status, words } = tryVirsh(line, env);
    if (status !== 0) throw new Error(`virsh ${line}: ${words}`);
    return words;
  }

  function write(name: string, content: string): string {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  }

  function box(name: string, line = WAITING, { rest = '', devices = '' } = {}): string {
    const all = `${devices}<console type='pty'/>`;
    return write(`${name}.xml`, shellContainer(name, { root: rootfs, line, rest, devices: all }));
  }

  function initOf(name: string): number {
    const dir = join(daemon.stateDir, 'run/status');
    const file = readdirSync(dir).find((entry) => new RegExp(`^lxc-\\d+-${name}\\.json$`).test(entry)) ?? '';
    return Number(/"init":"(\d+)"/.exec(readFileSync(join(dir, file), 'utf8'))?.[1]);
  }

  function inside(name: string, ...command: string[]): string {
    return execFileSync('nsenter', ['-t', String(initOf(name)), '-m', '-n', '-r', ...command], { encoding: 'utf8' });
  }

  const untilState = async (name: string, wanted: string): Promise<void> =>
    await pollUntil(() => virsh(`domstate ${name} --reason`) === wanted, `${name} is not ${wanted}`);

  it('defines, starts, shows, ends and forgets', async () => {
    virsh(`define ${box('life')}`);
    expect(virsh('list --all')).toMatch(/-\s+life\s+shut off/);
    expect(tryVirsh('dominfo life')).toMatchObject({ status: 0, words: expect.stringMatching(/Managed save:\s+no\b/) });
    expect(virsh('domstate life --reason')).toBe('shut off (unknown)');
    virsh('start life');
    expect(virsh('domstate life --reason')).toBe('running (booted)');
    expect(virsh('dominfo life')).toMatch(/OS Type:\s+exe[^]*State:\s+running[^]*Max memory:\s+65536 KiB/);
    expect(virsh('dumpxml life')).toMatch(/<domain type='lxc' id='\d+'>[^]*<alias name='console0'\/>/);
    expect(virsh('dumpxml life --inactive')).not.toMatch(/alias| id=/);
    virsh('suspend life');
    expect(virsh('domstate life --reason')).toBe('paused (user)');
    virsh('resume life');
    expect(virsh('domstate life --reason')).toBe('running (unpaused)');
    expect(tryVirsh('start life').words).toContain('Domain is already active');
    virsh('suspend life');
    virsh('destroy life');
    expect(virsh('domstate life --reason')).toBe('shut off (destroyed)');
    expect(tryVirsh('destroy life').words).toMatch(/Requested operation is not valid: .*not running/);
    virsh('undefine life');
    expect(tryVirsh('domstate life').words).toMatch(/failed to get domain 'life'/);
    expect(readdirSync(join(daemon.stateDir, 'run/lxc'))).toEqual([]);
  });

  /** Resolves when the container has answered on its second console. */
  async function typeOnSecond(container: Domain, word: string): Promise<void> {
    const stream = container.console('console1').stream();
    let printed = '';
    stream.on('data', (bytes) => {
      printed += String(bytes);
    });
    stream.write(`${word}\n`);
    await pollUntil(
      () => printed.includes(`got ${word}`),
      () => `only ${JSON.stringify(printed)} was printed`,
    );
  }

  it('has the terminals of its other consoles', async () => {
    const line = 'read -r word </dev/tty2; echo "got $word" >/dev/tty2; while :; do sleep 1; done';
    const xml = readFileSync(box('ttys', line, { devices: "<console type='pty'/>" }), 'utf8');
    const connection = await connect('lxc:///embed');
    try {
      await typeOnSecond(await connection.createDomain(xml), 'typed');
    } finally {
      await connection.close();
    }
    virsh(`create ${join(folder, 'ttys.xml')}`);
    expect(inside('ttys', '/bin/ls', '/dev/tty2')).toContain('/dev/tty2');
    // What waits on it does not lose it with the daemon, and the next one has it.
    await daemon.crash();
    expect(virsh('domstate ttys')).toBe('running');
    const again = await connect(`lxc+unix:///system?socket=${daemon.socket}`);
    try {
      await typeOnSecond(await again.lookupDomainByName('ttys'), 'once more');
    } finally {
      await again.close();
    }
    virsh('destroy ttys');
  });

  it.skipIf(v2Hierarchy(detectCgroups())?.writable !== true).each([
    ['', 'one'],
    ["<console type='pty'/>", 'two'],
  ])('writes no settings of the kernel, whoever makes it (%s)', async (devices, name) => {
    const done = join(rootfs, 'tmp/done');
    virsh(
      `create ${box(name, `(${writeSettings(HOST_SETTINGS)}) >/tmp/wrote; mv /tmp/wrote /tmp/done; ${WAITING}`, { devices })}`,
    );
    await pollUntil(() => existsSync(done), 'it does nothing');
    expect(readFileSync(done, 'utf8')).toBe('');
    rmSync(done);
    virsh(`destroy ${name}`);
  });

  it('is asked to end by a signal, or says why it cannot', async () => {
    virsh(`create ${box('polite', `trap 'exit 3' TERM; ${WAITING}`)}`);
    for (const mode of ['agent', 'acpi']) {
      expect(tryVirsh(`shutdown polite --mode ${mode}`).words).toContain('invalid argument');
    }
    expect(tryVirsh('shutdown polite --mode initctl').words).toContain('does not provide an initctl pipe');
    virsh('shutdown polite --mode signal');
    await pollUntil(() => tryVirsh('domstate polite').status !== 0, 'it is still there');
  });

  it('ends what ignores signals', () => {
    virsh(`create ${box('deaf', `trap '' TERM HUP INT; ${WAITING}`)}`);
    virsh('shutdown deaf --mode signal');
    expect(virsh('domstate deaf')).toBe('running');
    virsh('destroy deaf');
    expect(tryVirsh('domstate deaf').status).toBe(1);
  });

  it('runs again after it has called for a reboot, also for the next daemon', async () => {
    const once = `if [ -e /tmp/again ]; then ${WAITING}; fi; touch /tmp/again; sleep 1; reboot -f; ${WAITING}`;
    virsh(`define ${box('again', once)}`);
    const events = spawnEvents();
    virsh('start again');
    const first = initOf('again');
    await pollUntil(() => initOf('again') !== first, 'the status knows no other first program');
    await pollUntil(
      () => events.text().includes("event 'reboot'"),
      () => `no event: ${events.text()}`,
    );
    events.stop();
    await daemon.crash();
    expect(virsh('domstate again')).toBe('running');
    virsh('destroy again');
    virsh('undefine again');
    rmSync(join(rootfs, 'tmp/again'));
  });

  it('changes limits now and for the next start, and reads them from the kernel', () => {
    virsh(`define ${box('tuned')}`);
    virsh('start tuned');
    expect(virsh('memtune tuned')).toMatch(/hard_limit\s*: 65536/);
    virsh('memtune tuned --hard-limit 48M --live');
    expect(virsh('memtune tuned')).toMatch(/hard_limit\s*: 49152/);
    virsh('setmem tuned 40M --live');
    expect(virsh('memtune tuned')).toMatch(/hard_limit\s*: 40960/);
    expect(tryVirsh('setmem tuned 70M').words).toContain('Cannot set memory higher than max memory');
    expect(tryVirsh('setmaxmem tuned 80M --live').words).toMatch(/Requested operation is not valid.*active domain/);
    virsh('setmaxmem tuned 80M --config');
    expect(virsh('dumpxml tuned --inactive')).toContain("<memory unit='KiB'>81920</memory>");
    virsh('schedinfo tuned --set cpu_shares=512 --live');
    expect(virsh('schedinfo tuned')).toMatch(/cpu_shares\s*: 512\nvcpu_period\s*: 100000\nvcpu_quota\s*: -1/);
    virsh('blkiotune tuned --weight 300 --live');
    expect(virsh('blkiotune tuned')).toMatch(/weight\s*: 300/);
    expect(virsh('cpu-stats tuned')).toMatch(/CPU0:[^]*Total:\s+cpu_time/);
    expect(virsh('domstats tuned')).toMatch(/state\.state=1[^]*cpu\.time=\d+[^]*balloon\.maximum=65536/);
    virsh('destroy tuned');
    virsh('undefine tuned');
  });

  it('gets file systems, interfaces and device nodes while it runs, and loses them, also for the next daemon', async () => {
    const shared = join(folder, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), 'from the host');
    const fs = write('fs.xml', `<filesystem type='mount'><source dir='${shared}'/><target dir='/mnt'/></filesystem>`);
    const nic = write('nic.xml', "<interface type='ethernet'><mac address='52:54:00:aa:bb:01'/></interface>");
    const node = write(
      'node.xml',
      "<hostdev mode='capabilities' type='misc'><source><char>/dev/full</char></source></hostdev>",
    );
    virsh(`define ${box('plugged', WAITING, { devices: "<interface type='ethernet'/>" })}`);
    virsh('start plugged');
    virsh(`attach-device plugged ${fs} --live --config`);
    expect(tryVirsh(`attach-device plugged ${fs} --live`).words).toContain('target /mnt already exists');
    virsh(`attach-device plugged ${nic} --live`);
    virsh(`attach-device plugged ${node} --live`);
    expect(inside('plugged', 'cat', '/mnt/file')).toBe('from the host');
    expect(inside('plugged', 'ip', 'link')).toContain('eth1');
    expect(virsh('domiflist plugged').split('\n')).toHaveLength(2);
    // A bridge that is not there is named, and leaves nothing behind.
    for (let attempt = 0; attempt < 2; attempt++) {
      const { words } = tryVirsh('attach-interface plugged --live --type bridge --source nosuchbr');
      expect(words).toMatch(/nosuchbr/);
      expect(inside('plugged', 'ip', 'link')).not.toContain('eth2');
    }
    await daemon.crash();
    expect(virsh('dumpxml plugged')).toContain("<guest dev='eth1'/>");
    expect(inside('plugged', 'ip', 'link')).toContain('eth1');
    virsh(`detach-device plugged ${nic} --live`);
    expect(inside('plugged', 'ip', 'link')).not.toContain('eth1');
    expect(tryVirsh(`detach-device plugged ${nic} --live`).words).toContain('device not found');
    virsh(`attach-device plugged ${nic} --live`);
    expect(inside('plugged', 'ip', 'link')).toContain('eth1');
    virsh(`detach-device plugged ${node} --live`);
    virsh(`detach-device plugged ${fs} --live --config`);
    expect(inside('plugged', 'ls', '/mnt')).toBe('');
    expect(virsh('dumpxml plugged --inactive')).not.toContain(shared);
    virsh('destroy plugged');
    virsh('undefine plugged');
  });

  it('keeps changes of definitions', () => {
    virsh(`define ${box('edited')}`);
    virsh('edit edited', { EDITOR: 'sed -i s/65536/70000/' });
    expect(virsh('dumpxml edited')).toContain("<memory unit='KiB'>70000</memory>");
    virsh('desc edited --config hello');
    expect(virsh('desc edited')).toBe('hello');
    virsh('autostart edited');
    expect(virsh('list --all --autostart --name')).toBe('edited');
    virsh('domrename edited renamed');
    expect(virsh('list --all --name')).toContain('renamed');
    virsh('undefine renamed');
  });

  it('names what is wrong with a start, and leaves nothing of it', () => {
    const nowhere = box('nowhere');
    writeFileSync(nowhere, readFileSync(nowhere, 'utf8').replace(rootfs, join(folder, 'missing')));
    expect(tryVirsh(`create ${nowhere}`).words).toContain(`${folder}/missing, which this host does not have`);
    const headless = box('headless');
    writeFileSync(headless, readFileSync(headless, 'utf8').replace('/bin/sh', '/bin/nosuch'));
    expect(tryVirsh(`create ${headless}`).words).toContain('/bin/nosuch');
    virsh(`create ${box('short', 'exit 0')}`);
    expect(readdirSync(join(daemon.stateDir, 'run/lxc')).length).toBeLessThanOrEqual(1);
    const net = box('nobridge', WAITING, {
      devices: "<interface type='bridge'><source bridge='nosuchbr'/></interface>",
    });
    expect(tryVirsh(`create ${net}`).words).toContain('nosuchbr');
  });

  it('gives an interface its own name again at once', async () => {
    // The kernel takes the old one away a moment after the container's last process.
    await using connection = await connect(daemon.uri.replace(/^qemu/, 'lxc'));
    const dev = `na-${process.pid.toString(36)}`;
    const xml = readFileSync(
      box('named', WAITING, { devices: `<interface type='ethernet'><target dev='${dev}'/></interface>` }),
      'utf8',
    );
    for (let round = 0; round < 20; round++) await (await connection.createDomain(xml)).destroy();
    await pollUntil(() => !readdirSync('/sys/class/net').includes(dev), `${dev} is still there`);
  });

  it('shows how a container ended that ended while there was no daemon', async () => {
    virsh(`define ${box('alone', 'while [ ! -e /tmp/end ]; do sleep 0.1; done')}`);
    virsh('start alone');
    const init = initOf('alone');
    await daemon.stop('SIGKILL');
    writeFileSync(join(rootfs, 'tmp/end'), '');
    await pollUntil(() => !existsSync(`/proc/${init}/root`), 'it has not ended');
    await daemon.start();
    await untilState('alone', 'shut off (shutdown)');
    expect(readdirSync(join(daemon.stateDir, 'run/lxc'))).toEqual([]);
    virsh('undefine alone');
    rmSync(join(rootfs, 'tmp/end'));
  });

  it('keeps its definition when its keeper, its runtime or its outermost process is killed', async () => {
    virsh(`define ${box('struck')}`);
    for (const which of ['outer', 'conmon', 'init'] as const) {
      virsh('start struck');
      const outer = Number(/"pid":(\d+)/.exec(statusOf('struck'))?.[1]);
      const child = Number(readFileSync(`/proc/${outer}/task/${outer}/children`, 'utf8').trim());
      process.kill({ outer, conmon: child, init: initOf('struck') }[which], 'SIGKILL');
      await pollUntil(() => virsh('domstate struck').startsWith('shut off'), 'it still runs');
      await pollUntil(() => readdirSync(join(daemon.stateDir, 'run/lxc')).length === 0, 'its folder is still there');
    }
    virsh('undefine struck');
  });

  function statusOf(name: string): string {
    const dir = join(daemon.stateDir, 'run/status');
    const file = readdirSync(dir).find((entry) => new RegExp(`^lxc-\\d+-${name}\\.json$`).test(entry)) ?? '';
    return readFileSync(join(dir, file), 'utf8');
  }

  function spawnEvents(): { text: () => string; stop: () => void } {
    const uri = daemon.uri.replace(/^qemu/, 'lxc');
    const file = join(folder, 'events');
    const script = `exec stdbuf -oL virsh -c '${uri}' event --all --loop > '${file}' 2>&1`;
    const child = spawnBackground(script);
    return {
      text: () => (existsSync(file) ? readFileSync(file, 'utf8') : ''),
      stop: () => void child.kill('SIGKILL'),
    };
  }
});

function spawnBackground(script: string): ChildProcess {
  return spawn('sh', ['-c', script], { stdio: 'ignore' });
}
