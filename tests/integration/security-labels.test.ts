/**
 * Guests that run as another user, for real: QEMU's identity, its files' owners before, meanwhile and afterwards, also after a crash; and the
 * attributes of file systems in which labels are kept.
 */
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareRuntimeDir } from '../../src/core/fs-runtime-dir.ts';
import type { QemuConfig } from '../../src/driver/qemu/config.ts';
import { type Connection, connect } from '../../src/index.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { fileLabels } from '../../src/security/file-labels.ts';
import { holdFile } from '../../src/security/held-file.ts';
import { xattrMemory } from '../../src/security/label-memory.ts';
import { loadXattrs, XattrError } from '../../src/security/xattr.ts';
import { bundleScript } from '../support/bundle.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml, type TestDomain } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { createLuksImage } from '../support/luks.ts';
import { pollUntil } from '../support/poll.ts';
import { StreamText } from '../support/until.ts';

const NESTLING = new URL('../../dist/cli.cjs', import.meta.url).pathname;

interface Account {
  name: string;
  uid: number;
  gid: number;
}

/** An account of the host that is not root: libvirt's, where it is installed. */
function someAccount(): Account {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const line = lines.find((one) => one.startsWith('libvirt-qemu:')) ?? lines.find((one) => one.startsWith('nobody:'));
  const [name = '', , uid, gid] = (line ?? '').split(':');
  return { name, uid: Number(uid), gid: Number(gid) };
}

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('\nSKIPPED: guests of other users: needs root\n\n');
const account = someAccount();
let scratch: string;
beforeAll(() => {
  // Others may pass, as on the way to any image of theirs.
  chmodSync(tmpdir(), 0o711);
  scratch = mkdtempSync(join(tmpdir(), 'security-'));
  chmodSync(scratch, 0o711);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A boot disk of the guest's own that only root may use. */
async function ownDisk(name: string, kind: Parameters<typeof bootSectorImage>[0] = 'halt'): Promise<string> {
  const path = join(scratch, `${name}.img`);
  copyFileSync(await bootSectorImage(kind), path);
  chmodSync(path, 0o600);
  return path;
}

const ownerOf = (path: string): string => `${statSync(path).uid}:${statSync(path).gid}`;
const ROOT = '0:0';
const QEMU = `${account.uid}:${account.gid}`;

function pidOf(name: string): number {
  const found = listProcesses().find(({ pid, gone, comm }) => {
    if (gone || !comm.startsWith('qemu-system')) return false;
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`guest=${name},`);
  });
  return found?.pid ?? -1;
}
const statusOf = (pid: number, key: string): string =>
  new RegExp(`^${key}:\\s*(.*?)\\s*$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';

async function withConnection(
  config: Partial<QemuConfig>,
  use: (connection: Connection) => Promise<void>,
): Promise<void> {
  await using connection = await connect('qemu:///embed', { config });
  await use(connection);
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'it succeeded',
    (reason: unknown) => (reason instanceof Error ? reason.message : String(reason)),
  );
}

/** A program with one guest, which runs when this returns; it ends with its input. */
async function startProgram(
  name: string,
  xml: string,
  config: Partial<QemuConfig>,
  prefix: readonly string[] = [],
): Promise<ChildProcessByStdio<Writable, Readable, null>> {
  const file = join(scratch, `${name}.xml`);
  writeFileSync(file, xml);
  const script = await bundleScript(new URL('security-program.ts', import.meta.url).pathname);
  const words = [...prefix, process.execPath, script, file, JSON.stringify(config)];
  const program = spawn(words[0] ?? '', words.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  await new StreamText(program.stdout).until('running\n');
  return program;
}

describe.skipIf(!isRoot)('a guest of another user', () => {
  it('has that identity, its files meanwhile, and nothing of ours', async () => {
    const disk = await ownDisk('identity');
    await withConnection({ user: account.name }, async (connection) => {
      await using guest = await connection.createDomain(domainXml({ name: 's-identity', disks: [{ path: disk }] }));
      await guest.console().waitFor(greetingOf('halt'));
      const pid = pidOf('s-identity');
      expect(statusOf(pid, 'Uid').split('\t')).toEqual(Array(4).fill(String(account.uid)));
      expect(statusOf(pid, 'Gid').split('\t')).toEqual(Array(4).fill(String(account.gid)));
      const groups = execFileSync('id', ['-G', account.name], { encoding: 'utf8' }).trim().split(' ');
      expect(statusOf(pid, 'Groups').split(' ').toSorted()).toEqual(groups.toSorted());
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(statusOf(pid, set)).toMatch(/^0+$/);
      expect(statusOf(pid, 'PPid')).toBe(String(process.pid));
      expect(ownerOf(disk)).toBe(QEMU);
      const label = `+${account.uid}:+${account.gid}`;
      expect((await guest.xmlDesc()).replace(/\n\s*/g, '')).toContain(
        `<seclabel type='dynamic' model='dac' relabel='yes'><label>${label}</label><imagelabel>${label}</imagelabel></seclabel>`,
      );
      await guest.destroy();
      expect(ownerOf(disk)).toBe(ROOT);
      expect(statSync(disk).mode & 0o777).toBe(0o600);
    });
  });

  it('reaches its sockets, helpers, secrets, firmware and memory', async () => {
    const disk = await ownDisk('parts');
    const luks = join(scratch, 'luks.img');
    const uuid = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';
    createLuksImage([
      '--object',
      'secret,id=s,data=dnsiofnvbbo',
      '-f',
      'luks',
      '-o',
      'key-secret=s,iter-time=10',
      luks,
      '1M',
    ]);
    chmodSync(luks, 0o600);
    const devices = `
      <disk type='file'><driver name='qemu' type='raw'/><source file='${luks}'><encryption format='luks'><secret type='passphrase' uuid='${uuid}'/></encryption></source><target dev='vdb' bus='virtio'/></disk>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <graphics type='vnc'><listen type='socket'/></graphics>
      <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
      <filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/></binary><source dir='${scratch}'/><target dir='share'/></filesystem>`;
    const extra = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    const ram = join(scratch, 'ram');
    mkdirSync(ram, { mode: 0o711 });
    await withConnection({ user: account.name, memoryBackingDir: ram }, async (connection) => {
      await connection.defineSecret(
        `<secret ephemeral='yes' private='yes'><uuid>${uuid}</uuid></secret>`,
        'dnsiofnvbbo',
      );
      await using guest = await connection.createDomain(
        domainXml({ name: 's-parts', disks: [{ path: disk }], devices, extra }),
      );
      await guest.console().waitFor(greetingOf('halt'));
      expect([disk, luks].map(ownerOf)).toEqual([QEMU, QEMU]);
      const file = "<memoryBacking><source type='file'/></memoryBacking>";
      const other = { name: 's-file', disks: [{ path: await ownDisk('file-ram') }], extra: file };
      await using second = await connection.createDomain(domainXml(other));
      await second.console().waitFor(greetingOf('halt'));
    });
    expect([disk, luks].map(ownerOf)).toEqual([ROOT, ROOT]);
  });

  it('keeps its UEFI variables and gives them back', async () => {
    const root = mkdtempSync(join(scratch, 'root-'));
    await using connection = await connect(`qemu:///embed?root=${root}`, { config: { user: account.name } });
    const xml = domainXml({ name: 's-efi', disks: [{ path: await ownDisk('efi') }] }).replace(
      '<os>',
      "<os firmware='efi'>",
    );
    const guest = await connection.createDomain(xml);
    const vars = join(root, 'lib/qemu/nvram/s-efi_VARS.fd');
    expect(ownerOf(vars)).toBe(QEMU);
    await guest.destroy();
    expect(ownerOf(vars)).toBe(ROOT);
  });

  it('runs swtpm as the user of the settings', async () => {
    const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    const nobody = { uid: 65_534, gid: 65_534 };
    // Who signs the emulated TPM's certificates: here a folder of that user's, for nobody else to see.
    const authority = join(scratch, 'localca');
    mkdirSync(authority, { mode: 0o700 });
    chownSync(authority, nobody.uid, nobody.gid);
    const mount = `mount --bind ${authority} /var/lib/swtpm-localca && exec "$0" "$@"`;
    const config = { user: account.name, swtpmUser: `+${nobody.uid}`, swtpmGroup: `+${nobody.gid}` };
    const xml = domainXml({ name: 's-tpm', disks: [{ path: await ownDisk('tpm') }], devices: tpm });
    const program = await startProgram('tpm', xml, config, ['unshare', '--mount', 'sh', '-c', mount]);
    const swtpm = listProcesses().filter(({ comm, parentPid }) => comm === 'swtpm' && parentPid === program.pid);
    expect(swtpm.map(({ pid }) => statusOf(pid, 'Uid').split('\t')[0])).toEqual([String(nobody.uid)]);
    program.stdin.end();
    expect(await once(program, 'exit')).toEqual([0, null]);
  });

  it('says which keys keep swtpm from making a TPM as that user, and whose they are', () => {
    const authority = join(scratch, 'closed-localca');
    mkdirSync(authority, { mode: 0o755 });
    writeFileSync(join(authority, 'signkey.pem'), '', { mode: 0o640 });
    const root = join(scratch, 'tpm-root');
    mkdirSync(join(root, 'etc/qemu'), { recursive: true });
    writeFileSync(join(root, 'etc/qemu/qemu.conf'), 'swtpm_user = "+65534"\nswtpm_group = "+65534"\n');
    const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    const file = join(scratch, 'closed-tpm.xml');
    writeFileSync(file, domainXml({ name: 's-closed', devices: tpm }));
    const script = `mount --bind ${authority} /var/lib/swtpm-localca && exec "$0" run --root ${root} ${file}`;
    const cli = new URL('../../dist/cli.cjs', import.meta.url).pathname;
    const run = spawnSync('unshare', ['--mount', 'sh', '-c', script, cli], { encoding: 'utf8', timeout: 60_000 });
    expect([run.status, run.stderr]).toEqual([
      1,
      expect.stringMatching(
        /swtpm-setup .* ended with status 1: \/var\/lib\/swtpm-localca\S* is not for \S+ .*chown -R/,
      ),
    ]);
  });

  it('is what one definition says, and only that one', async () => {
    const label = `<seclabel type='static' model='dac' relabel='yes'><label>+${account.uid}:+${account.gid}</label></seclabel>`;
    const [one, two] = [await ownDisk('static'), await ownDisk('plain')];
    await withConnection({}, async (connection) => {
      await using first = await connection.createDomain(
        domainXml({ name: 's-static', disks: [{ path: one }], extra: label }),
      );
      await using second = await connection.createDomain(domainXml({ name: 's-plain', disks: [{ path: two }] }));
      expect([pidOf('s-static'), pidOf('s-plain')].map((pid) => statusOf(pid, 'Uid').split('\t')[0])).toEqual([
        String(account.uid),
        '0',
      ]);
      expect([one, two].map(ownerOf)).toEqual([QEMU, ROOT]);
      expect(await first.xmlDesc()).toContain(`<imagelabel>+${account.uid}`);
      expect(await second.xmlDesc()).not.toContain('seclabel');
    });
  });

  it('leaves files alone without dynamic ownership, and then says which it cannot open', async () => {
    const disk = await ownDisk('fixed');
    await withConnection({ user: account.name, dynamicOwnership: false }, async (connection) => {
      const xml = domainXml({ name: 's-fixed', disks: [{ path: disk }] });
      expect(await failureOf(connection.createDomain(xml))).toContain(
        `user ${account.name} cannot open the disk ${disk}: ${disk} denies (mode 0600, owner 0:0); setfacl -m u:${account.name}:rw ${disk}`,
      );
      expect(ownerOf(disk)).toBe(ROOT);
    });
  });

  it('that cannot reach its disk is refused before QEMU is started, with the folder and what helps', async () => {
    const closed = join(scratch, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const disk = join(closed, 'disk.img');
    copyFileSync(await bootSectorImage('halt'), disk);
    await withConnection({ user: account.name }, async (connection) => {
      const xml = domainXml({ name: 's-closed', disks: [{ path: disk }] });
      expect(await failureOf(connection.createDomain(xml))).toMatch(
        new RegExp(
          `cannot start guest s-closed: .*${closed} denies \\(mode 0700.*setfacl -m u:${account.name}:x ${closed}`,
        ),
      );
      expect(ownerOf(disk)).toBe(ROOT);
    });
  });

  it('shares base images and disks with others until the last has ended', async () => {
    const base = await ownDisk('base');
    const shared = join(scratch, 'shared.img');
    writeFileSync(shared, Buffer.alloc(1 << 20), { mode: 0o600 });
    const overlay = (name: string): string => {
      const path = join(scratch, `${name}.qcow2`);
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, path]);
      return path;
    };
    const both = `<disk type='file'><driver name='qemu' type='raw'/><source file='${shared}'/><target dev='vdb' bus='virtio'/><shareable/></disk>`;
    const xml = (name: string, path: string): string =>
      domainXml({ name, disks: [{ path, format: 'qcow2' }], devices: both });
    await withConnection({ user: account.name }, async (connection) => {
      const [top, other] = [overlay('s-one'), overlay('s-two')];
      const one = await connection.createDomain(xml('s-one', top));
      const two = await connection.createDomain(xml('s-two', other));
      await two.console().waitFor(greetingOf('halt'));
      expect([base, shared, top, other].map(ownerOf)).toEqual([QEMU, QEMU, QEMU, QEMU]);
      await one.destroy();
      expect([base, shared, top, other].map(ownerOf)).toEqual([QEMU, QEMU, ROOT, QEMU]);
      await two.destroy();
      expect([base, shared, top, other].map(ownerOf)).toEqual([ROOT, ROOT, ROOT, ROOT]);
    });
  });

  it('gets what is plugged in, and gives back what is pulled out', async () => {
    const [disk, plugged, iso] = [await ownDisk('plug'), await ownDisk('plugged'), await ownDisk('iso')];
    const tray = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>";
    await withConnection({ user: account.name }, async (connection) => {
      const xml = domainXml({
        name: 's-plug',
        disks: [{ path: disk }],
        devices: `${tray}<controller type='scsi' model='virtio-scsi'/>`,
      });
      await using guest = await connection.createDomain(xml);
      await guest.console().waitFor(greetingOf('halt'));
      const scsi = `<disk type='file'><driver name='qemu' type='raw'/><source file='${plugged}'/><target dev='sdb' bus='scsi'/></disk>`;
      await guest.attachDevice(scsi);
      expect(ownerOf(plugged)).toBe(QEMU);
      const medium = (source: string): string =>
        `<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>${source}<target dev='sda' bus='sata'/><readonly/></disk>`;
      await guest.updateDevice(medium(`<source file='${iso}'/>`));
      expect(ownerOf(iso)).toBe(QEMU);
      await guest.updateDevice(medium(''));
      expect([disk, plugged, iso].map(ownerOf)).toEqual([QEMU, QEMU, ROOT]);
    });
    expect([disk, plugged, iso].map(ownerOf)).toEqual([ROOT, ROOT, ROOT]);
  });

  it('is saved, restored, looked at and looked into as any other', async () => {
    const disk = await ownDisk('saved', 'counter');
    const video = "<video><model type='vga'/></video>";
    await withConnection({ user: account.name }, async (connection) => {
      const guest = await connection.createDomain(
        domainXml({ name: 's-saved', disks: [{ path: disk }], devices: video }),
      );
      expect(await guest.securityLabels()).toEqual([
        { model: 'dac', label: `+${account.uid}:+${account.gid}`, enforcing: false },
      ]);
      const { image } = await guest.screenshot();
      expect((await buffer(image)).length).toBeGreaterThan(100);
      expect(await guest.memoryPeek(0x7c00n, 512, { physical: true })).toHaveLength(512);
      const state = join(scratch, 'saved.state');
      await guest.save(state);
      expect([disk, state].map(ownerOf)).toEqual([ROOT, ROOT]);
      await connection.restore(state);
      expect(ownerOf(disk)).toBe(QEMU);
      expect(statusOf(pidOf('s-saved'), 'Uid').split('\t')[0]).toBe(String(account.uid));
      await (await connection.lookupDomainByName('s-saved')).destroy();
    });
    expect(ownerOf(disk)).toBe(ROOT);
  });

  it('dies with its program, and gc gives its files back', async () => {
    const disk = await ownDisk('crash');
    const xml = domainXml({ name: 's-crash', disks: [{ path: disk }] });
    // In a runtime folder that no other program's start collects in the meantime.
    const script = `mount -t tmpfs -o mode=0700 none ${prepareRuntimeDir()} && echo ready && read -r end`;
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new StreamText(holder.stdout).until('ready\n');
    const inside = ['nsenter', '--target', String(holder.pid), '--mount'];
    const program = await startProgram('crash', xml, { user: account.name }, inside);
    const pid = pidOf('s-crash');
    expect(statusOf(pid, 'Uid').split('\t')[0]).toBe(String(account.uid));
    const ended = once(program, 'exit');
    program.kill('SIGKILL');
    await ended;
    await pollUntil(() => pidOf('s-crash') === -1, 'the guest of the killed program is still there');
    expect(ownerOf(disk)).toBe(QEMU);
    const gc = spawnSync('nsenter', [...inside.slice(1), NESTLING, 'gc'], { encoding: 'utf8' });
    holder.stdin.end();
    // Of groups that others have left on this host it may speak.
    expect(gc.stderr).not.toMatch(/cannot/);
    expect(gc.stdout).toContain(`removed label ${disk}, left by pid ${program.pid}`);
    expect(ownerOf(disk)).toBe(ROOT);
    const xattrs = await loadXattrs();
    expect(xattrs?.get(disk, 'trusted.libvirt.security.ref_dac')).toBeUndefined();
  });

  it('of a daemon gives its files back to the next daemon', async () => {
    const disk = await ownDisk('daemon');
    await using daemon = await startDaemon();
    await daemon.stop();
    mkdirSync(join(daemon.stateDir, 'etc'), { recursive: true });
    writeFileSync(join(daemon.stateDir, 'etc/qemu.conf'), `user = "${account.name}"\n`);
    await daemon.start();
    {
      await using connection = await connect(daemon.uri);
      await connection.createDomain(
        domainXml({
          name: 's-daemon',
          disks: [{ path: disk }],
          devices: "<controller type='scsi' model='virtio-scsi'/>",
        }),
      );
      expect(ownerOf(disk)).toBe(QEMU);
    }
    await daemon.crash();
    expect(statusOf(pidOf('s-daemon'), 'Uid').split('\t')[0]).toBe(String(account.uid));
    await using connection = await connect(daemon.uri);
    const guest = await connection.lookupDomainByName('s-daemon');
    expect(await guest.xmlDesc()).toContain(`<label>+${account.uid}:+${account.gid}</label>`);
    // The next daemon goes on where the one before has ended.
    const plugged = await ownDisk('daemon-plugged');
    const scsi = `<disk type='file'><driver name='qemu' type='raw'/><source file='${plugged}'/><target dev='sdb' bus='scsi'/></disk>`;
    await guest.attachDevice(scsi);
    expect(ownerOf(plugged)).toBe(QEMU);
    await guest.destroy();
    expect([disk, plugged].map(ownerOf)).toEqual([ROOT, ROOT]);
  });
});

it.skipIf(!isRoot)('QEMU has no capabilities where they are to be cleared', async () => {
  const disk = await ownDisk('caps');
  const start = async (name: string, config: Partial<QemuConfig>): Promise<string> => {
    await using connection = await connect('qemu:///embed', { config });
    await using guest = await connection.createDomain(
      domainXml({ name, disks: [{ path: disk }] } satisfies TestDomain),
    );
    await guest.console().waitFor(greetingOf('halt'));
    return statusOf(pidOf(name), 'CapEff');
  };
  expect(await start('s-caps', { clearEmulatorCapabilities: true })).toMatch(/^0+$/);
  expect(await start('s-nocaps', {})).toBe(statusOf(process.pid, 'CapEff'));
});

describe.skipIf(!isRoot)('labels on real file systems', () => {
  for (const [kind, dir] of [
    ['the file system of temporary files', ''],
    ['tmpfs', '/dev/shm'],
  ] as const) {
    it(`are remembered and set on ${kind}`, async () => {
      const path = join(mkdtempSync(join(dir === '' ? scratch : dir, 'nestling-xattr-')), 'file');
      try {
        writeFileSync(path, '');
        const xattrs = await loadXattrs();
        if (xattrs === undefined) throw new Error('koffi is missing');
        using file = holdFile(path);
        if (file === undefined) throw new Error('the file is missing');
        const memory = xattrMemory({ xattrs, bootTime: 1 });
        expect(memory.hold(file, 'dac', '+1:+2', 'a')).toBe(1);
        expect(memory.hold(file, 'dac', '+9:+9', 'b')).toBe(2);
        expect(xattrs.get(path, 'trusted.libvirt.security.dac')?.toString()).toBe('+1:+2');
        expect(memory.release(file, 'dac', 'b')).toEqual({ kind: 'in use' });
        expect(memory.release(file, 'dac', 'a')).toEqual({ kind: 'last', before: '+1:+2' });
        expect(xattrs.get(path, 'trusted.libvirt.security.dac')).toBeUndefined();
        // Where a kernel has SELinux, it decides on the usual name.
        const { selinux } = fileLabels(xattrs, 'trusted.nestling.selinux');
        const label = 'system_u:object_r:svirt_image_t:s0:c107,c392';
        expect(selinux.read(file)).toBeUndefined();
        expect(selinux.write(file, label)).toBeUndefined();
        expect(selinux.read(file)).toBe(label);
        expect(xattrs.get(path, 'trusted.nestling.selinux')?.toString()).toBe(`${label}\0`);
      } finally {
        rmSync(join(path, '..'), { recursive: true });
      }
    });
  }

  it('are refused with the errno where there are none', async () => {
    const xattrs = await loadXattrs();
    expect(() => xattrs?.set('/proc/self/status', 'user.x', Buffer.from('x'))).toThrow(XattrError);
    expect(() => xattrs?.get('/nonexistent', 'user.x')).toThrow(/ENOENT/);
  });
});
