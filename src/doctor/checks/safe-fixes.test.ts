/** Which fixes `--fix` may run: on a fake host, as root and not, for what is there and what is not. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DoctorHost, type Finding, moduleFix, quoted } from '../finding.ts';
import { checkDeviceNodes } from './devices.ts';
import { checkDisk, kvmAbsentFix } from './machine.ts';
import { checkServices } from './services.ts';

let root: string;
let host: DoctorHost;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nd-'));
  const below = (name: string): string => {
    mkdirSync(join(root, name));
    return join(root, name);
  };
  const [proc, sys, dev, etc, run, modules] = ['proc', 'sys', 'dev', 'etc', 'run', 'modules'].map(below);
  if (!proc || !sys || !dev || !etc || !run || !modules) throw new Error('no fake host');
  host = { proc, sys, dev, etc, run, modules, env: { TMPDIR: root }, uid: 0 };
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, text: string): string {
  const whole = join(root, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, text);
  return whole;
}

const named = (findings: readonly Finding[], id: string): Finding | undefined => findings.find((one) => one.id === id);
const modulesOf = (...files: readonly string[]): string =>
  put(`modules/${release()}/modules.dep`, files.map((file) => `kernel/drivers/${file}:\n`).join(''));

describe('kernel modules', () => {
  it('are loaded as root where the running kernel has them as files, compressed or not', () => {
    modulesOf('net/tun.ko.xz', 'vhost/vhost-net.ko');
    const findings = checkDeviceNodes(host);
    expect(named(findings, 'tun')?.fix).toEqual({ command: 'modprobe tun', safe: true });
    expect(named(findings, 'vhost-net')?.fix).toEqual({ command: 'modprobe vhost_net', safe: true });
    expect(named(findings, 'vhost-vsock')?.fix?.safe).not.toBe(true);
    expect(named(checkDeviceNodes({ ...host, uid: 1000 }), 'tun')?.fix?.safe).toBe(false);
  });

  it('are not where only another has a name that ends alike', () => {
    modulesOf('net/macvtun.ko');
    expect(moduleFix(host, 'tun')).toBeUndefined();
    expect(moduleFix(host)).toBeUndefined();
  });

  it('of KVM are those of the processor; one that is loaded only wants its node', () => {
    modulesOf('kvm/kvm-intel.ko', 'kvm/kvm-amd.ko');
    put('proc/cpuinfo', 'processor\t: 0\nflags\t\t: fpu svm\n');
    expect(kvmAbsentFix(host)).toEqual({ command: 'modprobe kvm_amd', safe: true });
    put('proc/misc', '232 kvm\n');
    expect(kvmAbsentFix(host)).toMatchObject({ command: expect.stringMatching(/^mknod -m 660 /), safe: true });
    put('proc/misc', '');
    put('proc/cpuinfo', 'processor\t: 0\nflags\t\t: fpu\n');
    expect(kvmAbsentFix(host)).toMatch(/nested virtualization/);
  });
});

describe('folders', () => {
  it("of the program's own choice are made by anybody, with their names quoted", () => {
    const folder = join(root, "a b'c");
    const finding = checkDisk({ ...host, uid: 1000, env: { TMPDIR: folder } })[0];
    expect(finding?.fix).toEqual({ command: `mkdir -p -m 1777 ${quoted(folder)}`, safe: true });
    expect(quoted("a b'c; rm x")).toBe(`'a b'\\''c; rm x'`);
  });
});

describe('what dead daemons have left', () => {
  it('is removed as root when nobody answers and no process has it', async () => {
    const socket = put('run/libvirt/virtlogd-sock', '');
    const pid = put('run/virtlogd.pid', '4242\n');
    const finding = named(await checkServices(host), 'virtlogd');
    expect(finding).toMatchObject({ verdict: 'warn', fix: { safe: true } });
    expect(finding?.fix?.command).toMatch(`rm -f ${socket} ${pid} `);
    expect(named(await checkServices({ ...host, uid: 1000 }), 'virtlogd')?.fix?.safe).toBe(false);
  });

  it('stays when its process runs, when the number is its own, or when another program answers', async () => {
    put('run/virtlogd.pid', '4242\n');
    put('proc/4242/comm', 'bash\n');
    // The number is somebody else's by now.
    expect(named(await checkServices(host), 'virtlogd')?.verdict).toBe('warn');
    put('proc/4242/comm', 'virtlogd\n');
    expect(named(await checkServices(host), 'virtlogd')).toMatchObject({ verdict: 'pass', fact: 'runs' });

    mkdirSync(join(host.run, 'libvirt'));
    const path = join(host.run, 'libvirt/libvirt-sock');
    const server = createServer((client) => client.end());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      const finding = named(await checkServices(host), 'libvirtd');
      expect(finding).toMatchObject({ verdict: 'pass', fact: `another program answers on ${path}` });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
