/**
 * Debian's vagrant with its libvirt provider on our daemon, on a host of its own (a network namespace): a box that is built here comes up, is
 * spoken to over SSH, sleeps and wakes, and is destroyed; nothing of it is left but the box's image.
 */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { startDaemon } from '../support/daemon.ts';
import { hasDropbear, sshGuest } from '../support/guests/ssh-guest.ts';
import { StreamText } from '../support/until.ts';

const GEMS = '/usr/share/rubygems-integration/all/gems';
const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const SLOW_MS = 240_000;

function whyNot(): string | undefined {
  const install = 'apt-get install --no-install-recommends vagrant-libvirt dropbear-bin openssh-client (80 MB)';
  if (process.getuid?.() !== 0) return 'networks take root';
  const hasVagrant = spawnSync('vagrant', ['--version'], { env: { ...process.env, HOME: tmpdir() } }).status === 0;
  if (!hasVagrant || gem('vagrant-libvirt-') === undefined) return `vagrant-libvirt is not installed: ${install}`;
  if (!hasDropbear() || spawnSync('ssh', ['-V']).error !== undefined) return `no SSH for the guest: ${install}`;
  return undefined;
}

function gem(prefix: string): string | undefined {
  const name = readdirSync(GEMS).find((entry) => entry.startsWith(prefix) && /\d/.test(entry[prefix.length] ?? ''));
  return name === undefined ? undefined : join(GEMS, name);
}

const why = whyNot();
if (why !== undefined) process.stderr.write(`\nSKIPPED: vagrant: ${why}\n\n`);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vagrant-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A disk that nothing boots from: the guest's kernel comes from the host. */
function buildBox(): string {
  const parts = join(dir, 'box');
  mkdirSync(parts);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(parts, 'box.img'), '16M']);
  writeFileSync(join(parts, 'metadata.json'), '{"provider":"libvirt","format":"qcow2","virtual_size":1}');
  writeFileSync(join(parts, 'Vagrantfile'), "Vagrant.configure('2') { |config| }\n");
  const box = join(dir, 'test.box');
  execFileSync('tar', ['-czf', box, '-C', parts, 'metadata.json', 'Vagrantfile', 'box.img']);
  return box;
}

function vagrantfile(uri: string, guest: { kernel: string; initrd: string; cmdline: string }): string {
  return `Vagrant.configure('2') do |config|
  config.vm.box = 'built-here'
  config.vm.guest = :linux
  config.vm.boot_timeout = 200
  config.vm.synced_folder '.', '/vagrant', disabled: true
  config.ssh.username = 'root'
  config.ssh.shell = 'sh'
  config.ssh.sudo_command = '%c'
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |libvirt|
    libvirt.uri = '${uri}'
    libvirt.system_uri = '${uri}'
    libvirt.driver = 'qemu'
    libvirt.memory = 128
    libvirt.graphics_type = 'none'
    libvirt.kernel = '${guest.kernel}'
    libvirt.initrd = '${guest.initrd}'
    libvirt.cmd_line = '${guest.cmdline}'
  end
end
`;
}

describe.skipIf(why !== undefined)('vagrant', () => {
  it('brings a box up, speaks with it, and destroys it', { timeout: SLOW_MS }, async () => {
    const holder = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo ready; exec sleep 600'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await new StreamText(holder.stdout).until('ready');
      const net = `/proc/${holder.pid}/ns/net`;
      const cli = join(dir, 'cli');
      writeFileSync(cli, `#!/bin/sh\nexec nsenter --net=${net} ${CLI} "$@"\n`);
      chmodSync(cli, 0o755);
      await using daemon = await startDaemon([], { cli });
      await using connection = await connect(daemon.uri);
      // Networks outlive a daemon, and one that fails half-way leaves vagrant's.
      await using _networks = {
        [Symbol.asyncDispose]: async () => {
          for (const { uuid } of await connection.networks.list({ active: true }))
            await connection.networks.destroy(uuid);
        },
      };
      const pool = join(dir, 'images');
      const { uuid } = await connection.storage.createXml(
        `<pool type='dir'><name>default</name><target><path>${pool}</path></target></pool>`,
        { build: true },
      );
      const key = readFileSync(join(gem('vagrant-') ?? '', 'keys', 'vagrant.pub'), 'utf8');
      const project = join(dir, 'project');
      mkdirSync(project);
      writeFileSync(join(project, 'Vagrantfile'), vagrantfile(daemon.uri, await sshGuest(join(dir, 'initrd'), key)));
      const vagrant = async (...args: string[]): Promise<string> => {
        const env = {
          ...process.env,
          HOME: dir,
          VAGRANT_HOME: join(dir, 'home'),
          VAGRANT_CHECKPOINT_DISABLE: '1',
          LC_ALL: 'C',
        };
        const options = { cwd: project, env, encoding: 'utf8' } as const;
        try {
          return (await promisify(execFile)('nsenter', [`--net=${net}`, 'vagrant', ...args], options)).stdout;
        } catch (error) {
          const { stdout, stderr } = error as { stdout: string; stderr: string };
          throw new Error(`vagrant ${args.join(' ')}: ${stdout}${stderr}\n${daemon.words()}`, { cause: error });
        }
      };
      await vagrant('box', 'add', '--name', 'built-here', buildBox());
      await vagrant('up', '--provider', 'libvirt');
      expect(await vagrant('status', '--machine-readable')).toContain('state,running');
      expect((await vagrant('ssh', '-c', 'hostname')).trim()).toBe('nestling');
      expect((await connection.listAllDomains()).map(({ name }) => name)).toEqual(['project_default']);
      await vagrant('suspend');
      await vagrant('resume');
      expect((await vagrant('ssh', '-c', 'hostname')).trim()).toBe('nestling');
      await vagrant('destroy', '--force');
      expect(await connection.listAllDomains()).toEqual([]);
      const left = (await connection.storage.listVolumes(uuid)).map(({ name }) => name);
      expect(left).toEqual([expect.stringMatching(/^built-here_vagrant_box_image/)]);
    } finally {
      holder.kill('SIGKILL');
    }
  });
});
