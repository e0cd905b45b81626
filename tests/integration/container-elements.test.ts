/**
 * What the elements of a definition do in a container that runs: each is given, and looked for from inside. Those of networks, consoles and users have tests of their
 * own (container.test.ts, lxc-daemon.test.ts, container-links).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect } from '../../src/index.ts';
import { bundleScript } from '../support/bundle.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { pollUntil } from '../support/poll.ts';
import { type ContainerParts, containerOf } from './lxc-definitions.ts';

/** Bits of capabilities (capability.h). */
const CAP = { chown: 0, kill: 5, sysModule: 16, sysAdmin: 21, sysTime: 25, mknod: 27 } as const;

describe.skipIf(!canRunContainers())('in a container', () => {
  let folder = '';
  let rootfs = '';
  let connection: Connection;
  let count = 0;
  const notes: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-elements-'));
    rootfs = makeBusyboxRoot(folder);
    writeFileSync(join(rootfs, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nworker:x:1234:5678::/:/bin/sh\n');
    writeFileSync(join(rootfs, 'etc/group'), 'root:x:0:\nworkers:x:5678:\n');
    mkdirSync(join(rootfs, 'srv/deep'), { recursive: true });
    connection = await connect('lxc:///embed', { onNote: (note) => notes.push(note) });
  });

  afterAll(async () => {
    await connection.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function definition(
    line: string,
    { rest = '', devices = '', os = '', ...others }: ContainerParts,
  ): [xml: string, out: string] {
    const name = `element${count++}`;
    const out = join(folder, `${name}.out`);
    mkdirSync(out, { mode: 0o777 });
    execFileSync('chmod', ['777', out]);
    const script = line.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
    const xml = containerOf({
      name,
      os: `<type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>exec >/out/log 2>/out/errors; ${script}</initarg>${os}`,
      root: `<filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem><filesystem type='bind'><source dir='${out}'/><target dir='/out'/></filesystem>`,
      rest,
      devices,
      ...others,
    }).replace(/<uuid>.*?<\/uuid>/, '');
    return [xml, out];
  }

  /** Runs a shell line in a container until it ends. @returns what it printed, its errors behind that */
  async function inside(line: string, parts: ContainerParts = {}): Promise<string> {
    const [xml, out] = definition(line, parts);
    const domain = await connection.createDomain(xml);
    await domain.waitForStop();
    return readFileSync(join(out, 'log'), 'utf8') + readFileSync(join(out, 'errors'), 'utf8');
  }

  /** Of its group on the host, by the file that either version of cgroups has; empty where this host has no such controller. */
  async function limit(v1: string, v2: string, parts: ContainerParts): Promise<string> {
    const [xml] = definition('while :; do sleep 1; done', parts);
    const domain = await connection.createDomain(xml);
    try {
      const group = `*-${domain.name}.libvirt-lxc`;
      const found = execFileSync('find', ['/sys/fs/cgroup', '-type', 'd', '-name', group], { encoding: 'utf8' });
      const files = found.split('\n').flatMap((directory) => [basename(v1), v2].map((file) => join(directory, file)));
      const [file] = files.filter((path) => path.startsWith('/') && existsSync(path));
      return file === undefined ? '' : readFileSync(file, 'utf8').trim();
    } finally {
      await domain.destroy();
    }
  }

  const has = (mask: string, bit: number): boolean => ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
  const boundsOf = async (features: string): Promise<string> =>
    (
      await inside('while read -r name value; do [ "$name" = CapBnd: ] && echo $value; done </proc/self/status', {
        rest: features,
      })
    ).trim();

  it('the program has its arguments, variables, folder, user and group', async () => {
    const os =
      "<initarg>a b</initarg><initarg>$HOME</initarg><initenv name='WORD'>two words</initenv><initdir>/srv/deep</initdir><inituser>worker</inituser><initgroup>workers</initgroup>";
    const printed = await inside('echo "$0|$1|$WORD|$PWD"; id -u; id -g; echo "$LIBVIRT_LXC_UUID" | wc -c', { os });
    expect(printed).toBe('a b|$HOME|two words|/srv/deep\n1234\n5678\n37\n');
  });

  it('users and groups are taken by number too', async () => {
    expect(await inside('id -u; id -g', { os: '<inituser>+77</inituser><initgroup>88</initgroup>' })).toBe('77\n88\n');
  });

  it('capabilities are those of the policy', async () => {
    const byDefault = await boundsOf('');
    expect(has(byDefault, CAP.sysAdmin)).toBe(true);
    expect([CAP.sysModule, CAP.sysTime, CAP.mknod].map((bit) => has(byDefault, bit))).toEqual([false, false, false]);
    const changed = await boundsOf(
      "<features><capabilities policy='default'><sys_time state='on'/><kill state='off'/></capabilities></features>",
    );
    expect([has(changed, CAP.sysTime), has(changed, CAP.kill)]).toEqual([true, false]);
    const denied = await boundsOf(
      "<features><capabilities policy='deny'><chown state='on'/></capabilities></features>",
    );
    expect(BigInt(`0x${denied}`)).toBe(1n << BigInt(CAP.chown));
    const own = /CapBnd:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
    const allowed = await boundsOf(
      "<features><capabilities policy='allow'><sys_admin state='off'/></capabilities></features>",
    );
    expect(BigInt(`0x${allowed}`)).toBe(BigInt(`0x${own}`) & ~(1n << BigInt(CAP.sysAdmin)));
  });

  it('file systems are what they are given from, read-only where they are said to be', async () => {
    const image = join(folder, 'disk');
    execFileSync('truncate', ['-s', '4M', image]);
    execFileSync('mkfs.ext4', ['-q', image]);
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    mkdirSync(join(folder, 'given'));
    writeFileSync(join(folder, 'given/file'), 'given\n');
    try {
      const devices = `<filesystem type='block'><source dev='${device}'/><target dir='/mnt'/></filesystem>
        <filesystem type='bind'><source dir='${folder}/given'/><target dir='/not/there/yet'/><readonly/></filesystem>
        <filesystem type='ram'><source usage='2' units='MiB'/><target dir='/run'/></filesystem>`;
      const printed = await inside(
        'cat /not/there/yet/file; touch /not/there/yet/x; ls -d /mnt/lost+found; touch /mnt/made; df -k /run | tail -1 | { read -r a size b; echo $size; }',
        { devices },
      );
      expect(printed).toMatch(/^given\n\/mnt\/lost\+found\n2048\n/);
      expect(printed).toMatch(/\/not\/there\/yet\/x: Read-only file system/);
    } finally {
      execFileSync('losetup', ['--detach', device]);
      rmSync(join(rootfs, 'not'), { recursive: true, force: true });
    }
  });

  it('a root that is read-only stays as it is', async () => {
    const [xml, out] = definition('touch /made; echo done', {});
    const domain = await connection.createDomain(xml.replace("<target dir='/'/>", "<target dir='/'/><readonly/>"));
    await domain.waitForStop();
    expect(readFileSync(join(out, 'errors'), 'utf8')).toMatch(/\/made: Read-only file system/);
    expect(existsSync(join(rootfs, 'made'))).toBe(false);
  });

  it('device nodes are there, work, and no others do', async () => {
    const devices = "<hostdev mode='capabilities' type='misc'><source><char>/dev/full</char></source></hostdev>";
    const kmsg = "<hostdev mode='capabilities' type='misc'><source><char>/dev/kmsg</char></source></hostdev>";
    expect(await inside('echo x >/dev/full; ls -l /dev/kmsg', { devices })).toMatch(
      /No space left on device[\s\S]*kmsg: No such file/,
    );
    expect(await inside('ls -l /dev/kmsg; : </dev/kmsg && echo open', { devices: kmsg })).toMatch(
      /^crw-.* 1, +11 .*\nopen\n$/,
    );
  });

  it('storage of the host is there', async () => {
    const image = join(folder, 'storage');
    writeFileSync(image, 'storage of the host'.padEnd(4096));
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    try {
      const devices = `<hostdev mode='capabilities' type='storage'><source><block>${device}</block></source></hostdev>`;
      expect(await inside(`head -c 19 ${device}`, { devices })).toBe('storage of the host');
    } finally {
      execFileSync('losetup', ['--detach', device]);
    }
  });

  it('namespaces are shared with another container, a process, or by name', async () => {
    const [xml] = definition('while :; do sleep 1; done', { rest: '<features><privnet/></features>' });
    const other = await connection.createDomain(xml);
    const network = `nt-elements-${process.pid}`;
    execFileSync('ip', ['netns', 'add', network]);
    try {
      const share = (what: string): ContainerParts => ({
        rest: `<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'>${what}</lxc:namespace>`,
      });
      const shown = 'hostname; readlink /proc/self/ns/net; ls /sys/class/net | wc -l';
      const named = await inside(
        shown,
        share(`<lxc:shareuts type='name' value='${other.name}'/><lxc:sharenet type='name' value='${other.name}'/>`),
      );
      expect(named).toMatch(new RegExp(`^${other.name}\\nnet:\\[\\d+\\]\\n1\\n$`));
      const again = await inside(shown, share(`<lxc:sharenet type='name' value='${other.name}'/>`));
      expect(again.split('\n')[1]).toBe(named.split('\n')[1]);
      const byName = await inside(shown, share(`<lxc:sharenet type='netns' value='${network}'/>`));
      const expected = execFileSync('ip', ['netns', 'exec', network, 'readlink', '/proc/self/ns/net'], {
        encoding: 'utf8',
      }).trim();
      expect(byName.split('\n')[1]).toBe(expected);
      const ipc = await inside(
        'readlink /proc/self/ns/ipc',
        share(`<lxc:shareipc type='pid' value='${process.pid}'/>`),
      );
      expect(ipc.trim()).toBe(execFileSync('readlink', ['/proc/self/ns/ipc'], { encoding: 'utf8' }).trim());
    } finally {
      execFileSync('ip', ['netns', 'delete', network]);
      await other.destroy();
    }
  });

  it.each([
    ['memory', '<memory>65536</memory>', 'memory/memory.limit_in_bytes', 'memory.max', /^67108864$/],
    [
      'hard limit',
      '<memory>65536</memory><memtune><hard_limit>32768</hard_limit></memtune>',
      'memory/memory.limit_in_bytes',
      'memory.max',
      /^33554432$/,
    ],
    [
      'soft limit',
      '<memory>65536</memory><memtune><soft_limit>16384</soft_limit></memtune>',
      'memory/memory.soft_limit_in_bytes',
      'memory.high',
      /^16777216$/,
    ],
    [
      'swap limit',
      '<memory>65536</memory><memtune><hard_limit>65536</hard_limit><swap_hard_limit>98304</swap_hard_limit></memtune>',
      'memory/memory.memsw.limit_in_bytes',
      'memory.swap.max',
      /^(100663296|33554432)$/,
    ],
    [
      'shares',
      '<memory>65536</memory><cputune><shares>512</shares></cputune>',
      'cpu/cpu.shares',
      'cpu.weight',
      /^(512|20)$/,
    ],
    [
      'period',
      '<memory>65536</memory><cputune><period>50000</period><quota>25000</quota></cputune>',
      'cpu/cpu.cfs_period_us',
      'cpu.max',
      /50000$/,
    ],
    [
      'quota',
      '<memory>65536</memory><cputune><period>50000</period><quota>25000</quota></cputune>',
      'cpu/cpu.cfs_quota_us',
      'cpu.max',
      /^25000/,
    ],
    ['CPUs', "<memory>65536</memory><vcpu cpuset='0'>1</vcpu>", 'cpuset/cpuset.cpus', 'cpuset.cpus', /^0$/],
    [
      'NUMA nodes',
      "<memory>65536</memory><numatune><memory mode='strict' nodeset='0'/></numatune>",
      'cpuset/cpuset.mems',
      'cpuset.mems',
      /^0$/,
    ],
  ])('the limit of %s is in force', async (_, head, v1, v2, expected) => {
    expect(await limit(v1, v2, { head })).toMatch(expected);
  });

  it('the limit of memory is seen inside', async () => {
    const file = '/sys/fs/cgroup/memory/memory.limit_in_bytes';
    const seen = await inside(`[ ! -e ${file} ] || cat ${file}`, { head: '<memory>65536</memory>' });
    expect(seen.trim()).toMatch(/^(67108864)?$/);
  });

  it('throttles of block devices are in force', async () => {
    const image = join(folder, 'throttled');
    writeFileSync(image, Buffer.alloc(4096));
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    try {
      const head = `<memory>65536</memory><blkiotune><device><path>${device}</path><read_bytes_sec>1048576</read_bytes_sec></device></blkiotune>`;
      expect(await limit('blkio/blkio.throttle.read_bps_device', 'io.max', { head })).toMatch(/^7:\d+ (rbps=)?1048576/);
    } finally {
      execFileSync('losetup', ['--detach', device]);
    }
  });

  it('huge pages are mounted', async () => {
    const head = '<memory>65536</memory><memoryBacking><hugepages/></memoryBacking>';
    expect(await inside('grep " /dev/hugepages hugetlbfs " /proc/mounts', { head })).toMatch(/hugetlbfs/);
  });

  it('metadata stays with it while it runs', async () => {
    const [xml] = definition('while :; do sleep 1; done', {
      head: "<title>box</title><metadata><a:b xmlns:a='urn:a'>kept</a:b></metadata><memory>65536</memory>",
    });
    const domain = await connection.createDomain(xml);
    expect(await domain.metadata('element', 'urn:a')).toBe('<b>kept</b>');
    expect(await domain.xmlDesc()).toContain('<title>box</title>');
    await domain.destroy();
  });

  it('interfaces are of their kind, with addresses, routes, size and state', async () => {
    const program = await bundleScript(fileURLToPath(new URL('container-links-program.ts', import.meta.url)));
    const text = execFileSync('unshare', ['-n', process.execPath, program, folder, rootfs], {
      encoding: 'utf8',
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    const { inside: seen, left } = JSON.parse(text) as { inside: string; left: string[] };
    const line = (pattern: RegExp): string => seen.split('\n').find((one) => pattern.test(one)) ?? '';
    expect(line(/^\d+: mac0@.*link/)).toMatch(/UP.*52:54:00:00:00:01/);
    expect(line(/mac0 .*inet /)).toContain('192.0.2.1/24');
    // Those without a name are counted by themselves.
    expect(line(/^\d+: eth0@.*link/)).toMatch(/UP.*52:54:00:00:00:02/);
    expect(line(/eth0 .*inet /)).toMatch(/198\.51\.100\.1 peer 198\.51\.100\.2/);
    expect(line(/eth0 .*inet6 2001/)).toContain('2001:db8::1/64');
    expect(line(/^\d+: eth1@.*link/)).toMatch(/<BROADCAST,MULTICAST[^>]*> .*52:54:00:00:00:03/);
    expect(line(/^\d+: eth1@.*link/)).not.toMatch(/[<,]UP[,>]/);
    expect(line(/^\d+: small@.*link/)).toMatch(/mtu 1400 .*52:54:00:00:00:04/);
    expect(line(/^203\.0\.113\.0/)).toMatch(/203\.0\.113\.0\/24 via 10\.7\.0\.1 dev small/);
    expect(line(/^2001:db8:8::/)).toMatch(/2001:db8:8::\/48 via 2001:db8:7::1 dev small\s.*metric 7/);
    expect(line(/gift0 .*inet /)).toContain('192.0.2.129/25');
    // A pair ends with the namespace that one of its ends is in; a card comes back, which no test can have.
    expect(left).toEqual(['lo', 'up0', 'up1']);
  });

  it('memory that is too small for its program is told', async () => {
    const [xml] = definition('exit 0', { head: '<memory>3072</memory>' });
    const domain = await connection.createDomain(xml).catch(() => undefined);
    await domain?.waitForStop();
    await pollUntil(
      () => notes.some((note) => /3072 KiB is less than \/bin\/sh is likely to need/.test(note)),
      () => notes.join('\n'),
    );
  });

  it.each([
    [
      "<seclabel type='static' model='apparmor' relabel='no'><label>x</label></seclabel>",
      /security model 'apparmor' is not available|no profile 'x'/,
    ],
  ])('%s is refused where this host cannot give it', async (rest, message) => {
    const [xml] = definition('exit 0', { rest });
    await expect(connection.createDomain(xml)).rejects.toThrow(message);
  });
});
