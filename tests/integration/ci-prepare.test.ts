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
import { redactEnvironment, redactXml } from '../../src/ci/redact.ts';
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

const hasKvm = /^\s*\d+ kvm$/m.test(readFileSync('/proc/misc', 'utf8'));
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
  async function inContainer(
    script: string,
    mark = 'container=docker',
  ): Promise<{ status: number | null; output: string }> {
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
      exec chroot . env -i ${mark} HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "$0"`;
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

  it('starts them again after they were killed, and ends all of them, also those of a prepare that was killed itself', async () => {
    const { status, output } = await inContainer(`
      nestling ci prepare --services >/dev/null && for p in /proc/[0-9]*; do
        case $(cat $p/comm) in libvirtd|virtlogd) kill -9 \${p#/proc/};; esac; done
      nestling ci prepare --services && virsh -c qemu:///system list --all >/dev/null && echo ANSWERED
      nestling ci prepare --undo
      printf '#!/bin/sh\nexec sleep 600\n' > /usr/local/sbin/libvirtd; chmod +x /usr/local/sbin/libvirtd
      nestling ci prepare --services > /tmp/log & prepare=$!
      until grep -q '"name": "libvirtd"' /run/nestling/ci-prepared.json /dev/shm/nestling/ci-prepared.json 2>/dev/null; do :; done
      kill -9 $prepare; for p in /proc/[0-9]*; do case $(cat $p/cmdline) in *cli.cjs*) kill -9 \${p#/proc/};; esac; done
      echo UNDO; nestling ci prepare --undo; for p in /proc/[0-9]*; do grep -s '^State:.[RSD]' $p/status >/dev/null && cat $p/comm; done`);
    const [before = '', after = ''] = output.split('UNDO');
    expect(before).toMatch(/rm -f .*virtlogd.*\n.*ANSWERED/s);
    expect(before).toMatch(/dbus-daemon: already/);
    expect(after).toMatch(
      /service-libvirtd: given back\nservice-virtlogd: given back\nservice-dbus-daemon: given back/,
    );
    expect(after).not.toMatch(/^(dbus-daemon|virtlogd|libvirtd|sleep)$/m);
    expect(status).toBe(0);
  });

  it('takes the family of firewall rules that works, forwards, and puts both back', async () => {
    const { status, output } = await inContainer(`
      rm /usr/sbin/iptables-nft
      printf '#!/bin/sh\ncase $1 in --version) echo "iptables v1 (nf_tables)";; *) exit 3;; esac\n' > /usr/sbin/iptables-nft
      chmod +x /usr/sbin/iptables-nft
      show() { readlink /etc/alternatives/iptables /etc/alternatives/ip6tables; cat /proc/sys/net/ipv4/ip_forward; }
      nestling ci prepare --firewall && show && iptables -t nat -L -n && echo TAKEN
      echo AGAIN; nestling ci prepare --firewall; echo UNDO; nestling ci prepare --undo; show`);
    const [first = '', rest = ''] = output.split('AGAIN');
    const [again = '', undone = ''] = rest.split('UNDO');
    expect(first).toMatch(/legacy instead of nft, which this kernel refuses/);
    expect(first).toMatch(/^\/usr\/sbin\/iptables-legacy\n\/usr\/sbin\/ip6tables-legacy\n1\n[^]*TAKEN/m);
    expect(again).toMatch(/iptables \(legacy\): already\nIP forwarding: already/);
    expect(undone).toMatch(/^\/usr\/sbin\/iptables-nft\n\/usr\/sbin\/ip6tables-nft\n0\n/m);
    expect(status).toBe(0);
  });

  it('a device that the container denies is named, with what allows it, and no useless node stays', async () => {
    // A number that no driver has, in place of rules of the container's that deny the real one.
    const { status, output } = await inContainer(`
      printf '#!/bin/sh\nexec /usr/bin/mknod $1 c 10 251\n' > /usr/local/sbin/mknod; chmod +x /usr/local/sbin/mknod
      nestling ci prepare --kvm; echo "status $?"; ls /dev/kvm /dev/net/tun; nestling ci prepare --undo`);
    const device = hasKvm ? '/dev/kvm' : '/dev/net/tun';
    expect(output).toMatch(new RegExp(`${device} cannot be opened: .*; start the container with --device ${device}`));
    expect(output).toMatch(/status 1/);
    expect(output).toContain(`cannot access '${device}'`);
    expect(output).toMatch(/group-libvirt: given back\ngroup-kvm: given back/);
    expect(status).toBe(0);
  });

  it('takes whatever applies when nothing is named, and touches no machine that is not a container', async () => {
    const { status, output } = await inContainer(`
      nestling ci prepare > /dev/null; echo "status $?"; nestling ci prepare --user bob; echo "status $?"
      nestling ci prepare --undo >/dev/null`);
    const own = await inContainer(
      `nestling ci prepare --kvm; echo "status $?"; ls /dev/net; nestling ci prepare --kvm --host | tail -1`,
      '',
    );
    expect(output).toMatch(/^status 0\n/);
    expect(output).toMatch(/there is no user 'bob': useradd[^]*status 1/);
    expect(own.output).toMatch(/does not look like a container; with --host/);
    expect(own.output).toMatch(/status 2/);
    expect(own.output).toMatch(/cannot access '\/dev\/net'/);
    expect(own.output).toMatch(/net\/tun .*: done\n/);
    expect([status, own.status]).toEqual([0, 0]);
  });

  it('debug needs none of the tools that a small container lacks', async () => {
    const { status, output } = await inContainer(`
      part=hunt; export API_TOKEN=$part''er2; rm -f /usr/bin/ps /usr/sbin/ip /bin/ip; sh -c 'sleep 300; :' --token $API_TOKEN & nestling ci debug --tar --output /tmp/bug
      cat /tmp/bug/processes.txt /tmp/bug/errors.txt; tar -tzf /tmp/bug.tar.gz; grep -rl $API_TOKEN /tmp/bug; echo "secrets $?"`);
    expect(output).toMatch(/^ {2}\d+ 0 [SR] \d+ \S+ .*cli\.cjs ci debug/m);
    expect(output).toMatch(/^links\.txt: .*ENOENT/m);
    expect(output).toMatch(/^bug\/doctor\.json$/m);
    expect(output).toMatch(/^secrets 1$/m);
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
