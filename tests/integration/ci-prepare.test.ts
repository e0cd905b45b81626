/**
 * `nestling ci` in what a CI container is like: a minimal root without systemd, its own mounts, processes, network and names. Real libvirt is
 * started in it by `ci prepare --services`, and virsh asks it.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redactEnvironment, redactXml } from '../../src/ci/debug.ts';
import { TEMPLATES } from '../../src/ci/templates.ts';
import { domainXml } from '../support/domain-xml.ts';
import { minimalRoot } from '../support/guests/minimal-root.ts';

const NESTLING = new URL('../../dist/cli.cjs', import.meta.url).pathname;
const PACKAGES = [
  'dbus',
  'libvirt-daemon',
  'libvirt-daemon-driver-qemu',
  'libvirt-clients',
  'iptables',
  'iproute2',
  'passwd',
  'libstdc++6',
];

const canTest = process.getuid?.() === 0 && spawnSync('mmdebstrap', ['--version']).status === 0;
if (!canTest) {
  if (process.env['CI'] !== undefined) throw new Error('the tests of ci prepare need root and mmdebstrap');
  process.stderr.write('\nSKIPPED: ci prepare in a container: needs root and mmdebstrap\n\n');
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ci-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function nestling(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(NESTLING, args, { encoding: 'utf8', timeout: 60_000, cwd: folder });
  return { status, stdout, stderr };
}

describe.skipIf(!canTest)('ci prepare', () => {
  /** Runs a script in a throw-away container; everything in it ends with it. */
  async function inContainer(script: string): Promise<{ status: number | null; output: string }> {
    const root = await minimalRoot(PACKAGES);
    const work = mkdtempSync(join(folder, 'container-'));
    const node = realpathSync(process.execPath);
    const outer = `set -e
      mount -t tmpfs tmpfs "${work}"; mkdir "${work}/upper" "${work}/work" "${work}/root"
      mount -t overlay overlay -o "lowerdir=${root},upperdir=${work}/upper,workdir=${work}/work" "${work}/root"
      cd "${work}/root"
      mkdir -p opt/nestling usr/local/bin run dev/pts
      touch usr/local/bin/node && mount --bind "${node}" usr/local/bin/node
      mount --bind "${dirname(NESTLING)}" opt/nestling
      mount -t proc proc proc; mount --rbind /sys sys; mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs dev
      mknod -m 666 dev/null c 1 3; mknod -m 666 dev/zero c 1 5; mknod -m 666 dev/urandom c 1 9; mknod -m 666 dev/random c 1 8
      mkdir dev/pts dev/shm; mount -t tmpfs tmpfs tmp; ip link set lo up
      printf '%s\\n' '#!/bin/sh' 'exec /usr/local/bin/node /opt/nestling/cli.cjs "$@"' > usr/local/bin/nestling; chmod +x usr/local/bin/nestling
      exec chroot . env -i container=docker HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "$0"`;
    const namespaces = [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--net',
      '--uts',
      '--ipc',
      '--propagation',
      'private',
    ];
    const { status, stdout, stderr } = spawnSync('unshare', [...namespaces, 'sh', '-c', outer, script], {
      encoding: 'utf8',
      timeout: 100_000,
    });
    return { status, output: `${stdout}${stderr}` };
  }

  it('makes groups and device nodes once, says so the second time, and gives everything back', async () => {
    const { status, output } = await inContainer(`
      nestling ci prepare --kvm --user nobody && stat -c '%n %a %G' /dev/kvm /dev/net/tun && id -nG nobody
      echo AGAIN; nestling ci prepare --kvm --user nobody
      echo UNDO; nestling ci prepare --undo; ls /dev/kvm /dev/net/tun; grep -c '^kvm:' /etc/group; nestling ci prepare --undo`);
    const [first = '', rest = ''] = output.split('AGAIN');
    const [again = '', undone = ''] = rest.split('UNDO');
    const hasKvm = /^\s*\d+ kvm$/m.test(readFileSync('/proc/misc', 'utf8'));
    if (hasKvm) expect(first).toMatch(/^\/dev\/kvm 660 kvm$/m);
    expect(first).toMatch(/nogroup kvm libvirt/);
    expect(again).toMatch(/group kvm: already/);
    expect(again).not.toMatch(/: done/);
    expect(undone).toMatch(/cannot access '\/dev\/net\/tun'/);
    expect(undone).toMatch(/nothing to give back/);
    expect(status).toBe(0);
  });

  it('starts D-Bus, virtlogd and libvirtd in order, over what dead ones left, and virsh is answered', async () => {
    const { status, output } = await inContainer(`
      mkdir -p /run/dbus /run/libvirt; echo 4242 > /run/dbus/pid; touch /run/libvirt/libvirt-sock
      nestling ci prepare --services && virsh -c qemu:///system list --all && echo ANSWERED
      echo AGAIN; nestling ci prepare --services; nestling ci prepare --undo`);
    expect(output).toMatch(/rm -f \/run\/libvirt\/libvirt-sock/);
    expect(output).toMatch(/ANSWERED/);
    expect(output.split('AGAIN')[1]).toMatch(/dbus-daemon: already\nvirtlogd: already\nlibvirtd: already/);
    expect(status).toBe(0);
  });

  it('prints a plan that changes nothing, and says what cannot be done', async () => {
    const { status, output } = await inContainer(`
      nestling ci prepare --dry-run; ls /dev/net 2>&1; rm /usr/sbin/libvirtd; nestling ci prepare --services --dry-run; nestling ci prepare --daemon nestling; echo status $?`);
    expect(output).toMatch(/mknod \/dev\/net\/tun c 10 200/);
    expect(output).toMatch(/cannot access '\/dev\/net'/);
    expect(output).toMatch(/libvirtd: not done: libvirtd is not installed: apt-get install/);
    expect(output).toMatch(/no daemon of its own: use --daemon libvirt/);
    expect(output).toMatch(/status 2/);
    expect(status).toBe(0);
  });
});

describe('ci debug', () => {
  it('collects everything into one folder, without secrets', () => {
    const xml = domainXml({ name: 'debugged' }).replace(
      '</devices>',
      "<graphics type='vnc' passwd='hunter2'/></devices>",
    );
    writeFileSync(join(folder, 'guest.xml'), xml);
    const { status, stdout } = nestling('ci', 'debug', '--output', 'bug', 'guest.xml');
    expect([status, stdout]).toEqual([0, expect.stringContaining('look through it before you send it')]);
    const files = readdirSync(join(folder, 'bug'));
    expect(files).toEqual(
      expect.arrayContaining([
        'README.txt',
        'doctor.json',
        'mountinfo.txt',
        'cgroup-tree.txt',
        'processes.txt',
        'guest.xml',
      ]),
    );
    expect(readFileSync(join(folder, 'bug/guest.xml'), 'utf8')).not.toContain('hunter2');
    expect(readFileSync(join(folder, 'bug/cgroup-tree.txt'), 'utf8')).toMatch(/cgroup\.procs=/);
  });

  it('knows a secret when it sees one', () => {
    expect(redactEnvironment({ GITHUB_TOKEN: 'x', PATH: '/bin' })).toBe('GITHUB_TOKEN=(left out)\nPATH=/bin\n');
    expect(redactXml("<graphics passwd='a'/><cookie name='c'>v</cookie>")).toBe(
      "<graphics passwd='(left out)'/><cookie name='c'>(left out)</cookie>",
    );
  });
});

describe('ci init', () => {
  it.each(Object.keys(TEMPLATES))('%s: is written once, and not over what is there', (kind) => {
    const file = TEMPLATES[kind]?.file ?? '';
    expect(nestling('ci', 'init', kind)).toMatchObject({ status: 0, stdout: expect.stringContaining(`wrote ${file}`) });
    expect(nestling('ci', 'init', kind)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--force overwrites'),
    });
    expect(existsSync(join(folder, file))).toBe(true);
  });

  it('writes what the other programs can read', () => {
    mkdirSync(join(folder, 'check'));
    const python = spawnSync('python3', ['-m', 'py_compile', '-'], { input: '' }).error === undefined;
    if (python) {
      const file = join(folder, TEMPLATES['buildbot']?.file ?? '');
      expect(spawnSync('python3', ['-c', `import ast; ast.parse(open(${JSON.stringify(file)}).read())`]).status).toBe(
        0,
      );
      const yaml = spawnSync(
        'python3',
        [
          '-c',
          'import yaml, sys; [yaml.safe_load(open(p)) for p in sys.argv[1:]]',
          join(folder, TEMPLATES['github']?.file ?? ''),
          join(folder, TEMPLATES['gitlab']?.file ?? ''),
        ],
        { encoding: 'utf8' },
      );
      if (!yaml.stderr.includes('No module named')) expect([yaml.status, yaml.stderr]).toEqual([0, '']);
    }
    const jenkins = TEMPLATES['jenkins']?.content ?? '';
    expect(jenkins.split('{').length).toBe(jenkins.split('}').length);
    const shell = /sh '''\n([^]*?)'''/.exec(jenkins)?.[1] ?? '';
    expect(spawnSync('bash', ['-n'], { input: shell }).status).toBe(0);
    expect(TEMPLATES['docker']?.content).toMatch(/^FROM \S+$/m);
    for (const { content } of Object.values(TEMPLATES)) expect(content).not.toMatch(/\t|’|undefined/);
  });
});
