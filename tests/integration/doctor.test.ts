/** `nestling doctor` as its user sees it, on this host: the checks, one definition, messages, and what virt-host-validate checks too. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';

const NESTLING = new URL('../../dist/cli.cjs', import.meta.url).pathname;
let folder: string;
let image: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'doctor-'));
  image = await bootSectorImage('halt');
});
afterAll(() => rmSync(folder, { recursive: true }));

function doctor(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(NESTLING, ['doctor', ...args], { encoding: 'utf8', timeout: 60_000 });
  return { status, stdout, stderr };
}

function guest(name: string, xml: string): string {
  const path = join(folder, `${name}.xml`);
  writeFileSync(path, xml);
  return path;
}

interface Finding {
  id: string;
  verdict: string;
  fact: string;
  why?: string;
  fix?: { command: string };
}
const findingsOf = (text: string): Finding[] => (JSON.parse(text) as { findings: Finding[] }).findings;

describe('the host', () => {
  it('is checked line by line, each with a verdict, and a reason and a fix where it matters', () => {
    const { stdout, stderr } = doctor('--json');
    expect(stderr).toBe('');
    const findings = findingsOf(stdout);
    for (const finding of findings) {
      expect(['pass', 'warn', 'fail']).toContain(finding.verdict);
      if (finding.verdict !== 'pass') expect([finding.id, finding.why !== undefined]).toEqual([finding.id, true]);
    }
    const ids = findings.map(({ id }) => id);
    const wanted = [
      'kvm',
      'cpu-virtualization',
      'tun',
      'vhost-net',
      'cgroup',
      'namespaces',
      'user-namespaces',
      'firewall',
      'ip-forward',
    ];
    const more = [
      'security-module',
      'hugepages',
      'iommu',
      'memory',
      'entropy',
      'limit-nofile',
      'swtpm',
      'emulator',
      'firmware',
      'reaper',
    ];
    expect(ids).toEqual(
      expect.arrayContaining([
        ...wanted,
        ...more,
        'socket-paths',
        'container',
        'virtlogd',
        'libvirtd',
        'dbus',
        'kernel',
      ]),
    );
  });

  it('says all that virt-host-validate says', () => {
    const validate = spawnSync('virt-host-validate', { encoding: 'utf8' });
    if (validate.error !== undefined) {
      process.stderr.write('\nSKIPPED: no virt-host-validate to compare with\n\n');
      return;
    }
    const { stdout } = doctor();
    const counterparts: readonly (readonly [RegExp, RegExp])[] = [
      [/hardware virtualization/, /processor/],
      [/\/dev\/kvm/, /acceleration/],
      [/vhost-net/, /vhost-net/],
      [/\/dev\/net\/tun/, /tap devices/],
      [/cgroup '.*' controller/, /controllers/],
      [/IOMMU/, /IOMMU/],
      [/[Ss]ecure [Gg]uest/, /acceleration/],
      [/Linux >=/, /kernel/],
      [/namespace/, /namespaces/],
      [/fuse/, /FUSE/],
    ];
    const items = validate.stdout.split('\n').filter((line) => line.includes(': Checking'));
    expect(items.length).toBeGreaterThan(5);
    for (const item of items) {
      const found = counterparts.find(([theirs]) => theirs.test(item));
      expect([item, found !== undefined && found[1].test(stdout)]).toEqual([item, true]);
    }
  });
});

describe('--fix', () => {
  it.skipIf(process.getuid?.() !== 0)('mends what is safe, and tells what was and what is now', () => {
    const script = `set -e
      mount -t tmpfs nestling-run /run; mkdir /run/libvirt
      : > /run/libvirt/virtlogd-sock; echo 4194304 > /run/virtlogd.pid
      mount -t tmpfs nestling-net /dev/net
      ${NESTLING} doctor --fix --quiet || :
      ls /run/libvirt /run/virtlogd.pid /dev/net/tun 2>&1 || :`;
    const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script], { encoding: 'utf8', timeout: 60_000 });
    expect(stderr).toContain('nestling doctor: virtlogd: does not run, and has left /run/libvirt/virtlogd-sock and ');
    expect(stderr).toContain('nestling doctor:   runs: rm -f /run/libvirt/virtlogd-sock /run/virtlogd.pid');
    expect(stderr).toMatch(/nestling doctor: virtlogd: now well/);
    expect(stderr).toMatch(
      /runs: mkdir -p \/dev\/net && mknod [^]*tap devices: now well: \/dev\/net\/tun can be opened/,
    );
    expect(stdout).toContain('\n/dev/net/tun\n');
    expect(stdout).toMatch(/virtlogd\.pid'?: No such file/);
    expect(stdout).not.toMatch(/virtlogd-sock/);
    // What takes a decision is only printed.
    expect(stderr).not.toMatch(/runs: (usermod|sysctl|docker|apt-get)/);
  });
});

describe('a definition', () => {
  it('of a container is looked at without starting it: its systemd, its memory', () => {
    const root = join(folder, 'root');
    mkdirSync(join(root, 'sbin'), { recursive: true });
    mkdirSync(join(root, 'lib/systemd'), { recursive: true });
    writeFileSync(join(root, 'sbin/init'), '');
    writeFileSync(join(root, 'lib/systemd/systemd'), 'systemd 215 running in %ssystem mode. (');
    const xml = `<domain type='lxc'><name>old</name><memory unit='KiB'>65536</memory><os><type>exe</type><init>/sbin/init</init></os>
      <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem></devices></domain>`;
    const { status, stdout } = doctor('--no-host', '--no-start', guest('container', xml));
    expect(stdout).toContain(`systemd 215 in ${root}`);
    expect(stdout).toMatch(/\[warn\] memory +64 MiB/);
    expect(status).toBe(0);
  });

  it.skipIf(!canRunContainers())('that is a container is made up to its first program, which does not run', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nt-doctor-'));
    try {
      const rootfs = makeBusyboxRoot(folder);
      const xmlOf = (init: string, interfaces = ''): string =>
        `<domain type='lxc'><name>box</name><memory unit='MiB'>256</memory>
        <os><type>exe</type><init>${init}</init><initarg>-c</initarg><initarg>touch /ran</initarg></os>
        <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>${interfaces}</devices></domain>`;
      const good = doctor('--no-host', guest('box', xmlOf('/bin/sh')));
      expect(good.stdout).toMatch(/\[pass\] start +the container is made, up to its first program/);
      expect([good.status, existsSync(join(rootfs, 'ran'))]).toEqual([0, false]);
      const bridge = "<interface type='bridge'><source bridge='br-none'/></interface>";
      const bad = doctor('--no-host', guest('unbridged', xmlOf('/bin/sh', bridge)));
      expect(bad.stdout).toMatch(/\[fail\] start +.*there is no bridge 'br-none' on this host: create it/);
      expect(bad.status).toBe(1);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('that starts passes, QEMU included, and leaves nothing', () => {
    const path = guest('good', domainXml({ name: 'good', disks: [{ path: image, readonly: true }] }));
    const { status, stdout } = doctor('--no-host', path);
    expect(stdout).toMatch(/\[pass\] start +QEMU starts, up to the first instruction/);
    expect(status).toBe(0);
  });

  it('whose disk is not there fails with the path and what to do', () => {
    const path = guest('missing', domainXml({ name: 'missing', disks: [{ path: '/nowhere/disk.img' }] }));
    const { status, stdout } = doctor('--no-host', '--json', path);
    expect(status).toBe(1);
    const [finding] = findingsOf(stdout).filter(({ verdict }) => verdict === 'fail');
    expect(finding).toMatchObject({ id: 'guest-files', fact: '/nowhere does not exist' });
  });

  it('that is not well-formed, or unknown to QEMU, fails with the line', () => {
    const { status, stdout } = doctor('--no-host', guest('torn', '<domain type="qemu">\n<name>x</name>\n'));
    expect([status, stdout]).toEqual([1, expect.stringMatching(/\[fail\] definition .*torn\.xml:\d+/)]);
    const machine = domainXml({ name: 'm' }).replace(/machine='[^']*'/, "machine='pc-nonesuch'");
    expect(doctor('--no-host', guest('machine', machine)).stdout).toMatch(
      /\[fail\] plan [^]*no machine type 'pc-nonesuch'/,
    );
  });

  it.skipIf(process.getuid?.() !== 0)('is tried as the user who will run it, along the whole path', () => {
    const locked = join(folder, 'home');
    mkdirSync(locked, { mode: 0o700 });
    chmodSync(folder, 0o755);
    writeFileSync(join(locked, 'disk.img'), Buffer.alloc(512));
    const path = guest('locked', domainXml({ name: 'locked', disks: [{ path: join(locked, 'disk.img') }] }));
    chmodSync(path, 0o644);
    const { status, stdout } = doctor('--no-host', '--no-start', '--json', '--user', 'nobody', path);
    expect(status).toBe(1);
    expect(findingsOf(stdout).find(({ verdict }) => verdict === 'fail')).toMatchObject({
      fact: expect.stringContaining('denies (mode 0700'),
      fix: { command: expect.stringMatching(/^setfacl -m u:nobody:x /) },
    });
  });

  it('without a console is warned of', () => {
    const xml = domainXml({ name: 'dumb' }).replace(/<serial[^]*?<\/serial>|<serial[^>]*\/>/g, '');
    expect(doctor('--no-host', '--no-start', guest('dumb', xml)).stdout).toMatch(/\[warn\] console/);
  });
});

describe('messages', () => {
  it('are explained, from the command line and from a log', () => {
    const { status, stdout } = doctor('--explain', "Failed to connect socket to '/run/libvirt/virtlogd-sock'");
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^cause: .*virtlogd.*\nfix: {3}virtlogd --daemon/)]);
    const log = join(folder, 'guest.log');
    writeFileSync(log, 'starting up\nqemu: Could not access KVM kernel module: Permission denied\n');
    expect(doctor('--explain', log).stdout).toContain(`${log}:2: qemu: Could not access KVM`);
  });

  it('that nobody knows are said to be unknown', () => {
    expect(doctor('--explain', 'the moon is full')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('not known'),
    });
    expect(doctor('--wrong').status).toBe(2);
  });
});
