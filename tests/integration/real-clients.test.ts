/**
 * Programs that others have written for libvirtd, unchanged, on our daemon: python3-libvirt with its event loops, Sys::Virt, virt-install,
 * virt-xml, virt-clone, virt-top, virt-viewer. Where libvirtd is installed it gets the same, and says what is right.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { freePort } from '../support/free-port.ts';
import { type BootSector, copyBootSectorImage } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, type Libvirtd, startLibvirtd } from '../support/libvirtd.ts';
import { hasSshd, startSshd, type TestSshd } from '../support/sshd.ts';

const SCRIPTS = fileURLToPath(new URL('../fixtures/clients/', import.meta.url));
/** The distribution's, whatever else is in PATH. */
const PYTHON = '/usr/bin/python3';
const PERL = '/usr/bin/perl';
const hasPython = spawnSync(PYTHON, ['-c', 'import libvirt, libvirtaio']).status === 0;
const hasPerl = spawnSync(PERL, ['-MSys::Virt', '-e', '1']).status === 0;
const has = (program: string): boolean => existsSync(`/usr/bin/${program}`);

for (const [isHere, name, debianPackage] of [
  [hasPython, 'python3-libvirt', 'python3-libvirt'],
  [hasPerl, 'Sys::Virt', 'libsys-virt-perl'],
  [has('virt-install'), 'virt-install', 'virtinst'],
  [has('virt-top'), 'virt-top', 'virt-top'],
  [has('virt-viewer') && has('Xvfb'), 'virt-viewer or Xvfb', 'virt-viewer xvfb'],
  [hasSshd(), 'sshd or ssh', 'openssh-server'],
] as const) {
  if (!isHere) process.stderr.write(`\nSKIPPED: ${name} is not installed (Debian package ${debianPackage})\n\n`);
}

let dir: string;
let daemon: TestDaemon;
let libvirtd: Libvirtd | undefined;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'clients-'));
  daemon = await startDaemon();
  if (hasLibvirtd()) libvirtd = await startLibvirtd();
});
afterAll(async () => {
  await libvirtd?.[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

interface Said {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, with a home of its own. */
async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Said> {
  return await new Promise((resolve) => {
    const options = {
      timeout: 60_000,
      env: { ...process.env, LC_ALL: 'C.UTF-8', HOME: dir, XDG_CACHE_HOME: dir, ...env },
    };
    execFile(program, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ status, stdout, stderr });
    });
  });
}

async function succeed(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const said = await run(program, args, env);
  if (said.status !== 0) {
    throw new Error(
      `${program} ${args.join(' ')} ended with ${said.status}:\n${said.stdout}${said.stderr}\n${daemon.words()}`,
    );
  }
  return said.stdout;
}

const virsh = async (...args: string[]): Promise<string> => await succeed('virsh', ['-c', daemon.uri, '-q', ...args]);

async function xmlFile(guest: BootSector, name: string): Promise<string> {
  const path = join(dir, `${name}.xml`);
  writeFileSync(path, domainXml({ name, disks: [{ path: await copyBootSectorImage(guest, dir), readonly: true }] }));
  return path;
}

/** What a script says of us; libvirtd has the same said of it. */
async function compareScript(program: string, script: string, xml: string): Promise<string> {
  const ours = await succeed(program, [join(SCRIPTS, script), daemon.uri, xml]);
  if (libvirtd !== undefined) {
    expect(ours).toBe(await succeed(program, [join(SCRIPTS, script), libvirtd.uri, xml]));
  }
  return ours;
}

describe.skipIf(!hasPython)('python3-libvirt', () => {
  it("defines, starts, watches, talks to and removes a guest with libvirt's event loop", async () => {
    const said = await compareScript(PYTHON, 'events.py', await xmlFile('echo', 'py'));
    expect(said).not.toMatch(/instead of|was not refused/);
    expect(said.split('\n')).toEqual(
      expect.arrayContaining(['console True', 'console of the event loop True', 'read only [] 0']),
    );
  });

  it('sees what another connection does, driven by asyncio', async () => {
    expect(await compareScript(PYTHON, 'asyncio_events.py', await xmlFile('halt', 'aio'))).toBe('[4, 2, 6, 5]\n');
  });
});

describe.skipIf(!hasPython)('volumes of python3-libvirt', () => {
  it('are nobody’s any more once a stream is ended or given up', async () => {
    expect(await compareScript(PYTHON, 'volumes.py', join(dir, 'volumes'))).toBe('removed 40\n');
  });
});

describe.skipIf(!hasPerl)('Sys::Virt', () => {
  it('defines, starts, watches, talks to and removes a guest', async () => {
    const said = await compareScript(PERL, 'session.pl', await xmlFile('echo', 'perl'));
    expect(said).toMatch(/^console perl$/m);
    expect(said).toMatch(/^refused: code 55$/m);
    expect(said).toMatch(/^gone: code 42$/m);
  });
});

describe.skipIf(!has('virt-install'))('virtinst', () => {
  /** Without a storage driver virt-install takes no path of a disk. */
  const disk = async (): Promise<string> =>
    (await run('virsh', ['-c', daemon.uri, 'pool-list'])).status === 0
      ? `path=${await copyBootSectorImage('halt', dir)},format=raw,bus=virtio`
      : 'none';
  const wanted = async (name: string): Promise<string[]> => [
    '--import',
    '--noautoconsole',
    '--osinfo=generic',
    '--virt-type=qemu',
    '--memory=64',
    '--boot=hd',
    '--network=none',
    '--graphics=none',
    '--serial=pty',
    '--console=none',
    `--name=${name}`,
    `--disk=${await disk()}`,
  ];

  it('installs, changes, and clones a guest', async () => {
    const connection = ['--connect', daemon.uri];
    const printed = await succeed('virt-install', [...connection, ...(await wanted('vi')), '--print-xml']);
    expect(printed).toMatch(/^<domain type="qemu">\n {2}<name>vi<\/name>/);
    expect(await virsh('list', '--all', '--name')).not.toContain('vi');

    expect(await succeed('virt-install', [...connection, ...(await wanted('vi'))])).toContain('creation completed');
    expect(await virsh('domstate', '--reason', 'vi')).toContain('running (booted)');
    expect(await virsh('dominfo', 'vi')).toMatch(/^Persistent:\s+yes$/m);

    await succeed('virt-xml', [...connection, 'vi', '--edit', '--memory', '96', '--define']);
    const hotPlug = ['vi', '--add-device', '--rng', '/dev/urandom', '--update'];
    expect(await succeed('virt-xml', [...connection, ...hotPlug])).toContain('hotplug successful');
    expect(await virsh('dumpxml', 'vi')).toContain("<backend model='random'>/dev/urandom</backend>");
    const diff = await succeed('virt-xml', [...connection, 'vi', '--edit', '--print-diff', '--vcpus', '2']);
    expect(diff).toMatch(/^-.*<vcpu placement="static">1<.*\n\+.*<vcpu placement="static">2</m);
    expect(await virsh('dumpxml', '--inactive', 'vi')).toContain("<memory unit='KiB'>98304</memory>");

    await virsh('destroy', 'vi');
    const clone = ['--original', 'vi', '--name', 'vc', '--auto-clone'];
    expect(await succeed('virt-clone', [...connection, ...clone])).toContain("Clone 'vc' created successfully");
    expect(await virsh('domuuid', 'vc')).not.toBe(await virsh('domuuid', 'vi'));
    expect(await virsh('dumpxml', 'vc')).toContain("<memory unit='KiB'>98304</memory>");
    for (const name of ['vc', 'vi']) await virsh('undefine', name);
  });
});

describe.skipIf(!has('virt-top'))('virt-top', () => {
  it('shows the guests that run', async () => {
    await virsh('create', await xmlFile('halt', 'topped'));
    const said = await succeed('virt-top', ['-c', daemon.uri, '--batch', '-n', '2', '-d', '1', '--stream']);
    expect(said).toMatch(/\btopped\b/);
    await virsh('destroy', 'topped');
  });
});

describe.skipIf(!has('virt-viewer') || !has('Xvfb'))('virt-viewer', () => {
  it('finds the display of a guest and speaks to it', async () => {
    const path = join(dir, 'seen.xml');
    const devices = "<graphics type='vnc' autoport='yes' listen='127.0.0.1'/><video><model type='vga'/></video>";
    const disks = [{ path: await copyBootSectorImage('halt', dir), readonly: true }];
    writeFileSync(path, domainXml({ name: 'seen', disks, devices }));
    await virsh('create', path);
    // It takes a display that is free, and says which.
    const server = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '640x480x8', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const display = await new Promise<string>((resolve) =>
      server.stdout.once('data', (chunk: Buffer) => resolve(`:${chunk.toString().trim()}`)),
    );
    await using connection = await connect(daemon.uri);
    const initialized = (async () => {
      for await (const event of connection.events({ signal: AbortSignal.timeout(60_000) })) {
        if (event.event === 'graphics' && event.phase === 'initialize') return event.domain.name;
      }
      return undefined;
    })();
    const viewer = spawn('virt-viewer', ['--connect', daemon.uri, 'seen'], {
      stdio: 'ignore',
      env: { ...process.env, HOME: dir, DISPLAY: display },
    });
    try {
      expect(await initialized).toBe('seen');
    } finally {
      await ended(viewer);
      await ended(server);
    }
    await virsh('destroy', 'seen');
  });
});

describe.skipIf(!hasSshd())('qemu+ssh://', () => {
  let sshd: TestSshd;
  beforeAll(async () => {
    sshd = await startSshd(join(daemon.stateDir, 'run'), await freePort());
  });
  afterAll(async () => await sshd[Symbol.asyncDispose]());

  const uriOf = (...parameters: string[]): string => {
    const all = [`keyfile=${sshd.keyFile}`, `known_hosts=${sshd.knownHosts}`, 'sshauth=privkey', ...parameters];
    return `qemu+ssh://${sshd.user}@127.0.0.1:${sshd.port}/system?${all.join('&')}`;
  };
  /** virsh leaves its known hosts to ssh. */
  const far = (...parameters: string[]): string => uriOf('no_verify=1', ...parameters);

  it.each([
    ['virt-ssh-helper', 'proxy=native'],
    ['netcat', 'proxy=netcat'],
    ['what is there', 'proxy=auto'],
  ])('brings virsh to the daemon through %s', async (_, proxy) => {
    expect(await succeed('virsh', ['-c', far(proxy), '-q', 'uri'])).toContain('qemu+ssh://');
    await succeed('virsh', ['-c', far(proxy), '-q', 'define', await xmlFile('halt', 'far')]);
    expect(await virsh('list', '--all', '--name')).toContain('far');
    expect(await succeed('virsh', ['-c', far(proxy), '-q', 'dumpxml', 'far'])).toContain('<name>far</name>');
    await succeed('virsh', ['-c', far(proxy), '-q', 'undefine', 'far']);
    const refused = await run('virsh', ['-r', '-c', far(proxy), 'define', await xmlFile('halt', 'far')]);
    expect(refused.stderr).toMatch(/read only/);
  });

  it.each(['proxy=native', 'proxy=netcat'])('brings our client there with %s, and checks the host', async (proxy) => {
    await using connection = await connect(uriOf(proxy));
    const domain = await connection.defineDomain(domainXml({ name: 'far' }));
    expect((await connection.listAllDomains()).map(({ name }) => name)).toContain('far');
    await domain.undefine();
    writeFileSync(join(dir, 'nobody'), '');
    const stranger = uriOf(proxy).replace(sshd.knownHosts, join(dir, 'nobody'));
    await expect(connect(stranger)).rejects.toThrow(/Host key verification failed/);
  });
});

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  await exit;
}
