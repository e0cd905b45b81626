/**
 * Storage pools and volumes for real: embedded and in the daemon, with guests on their volumes, streams in both directions, virsh at the
 * other end; what goes wrong leaves nothing half made.
 */
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect, ErrorCode, type StorageOperations, VirtError, type VolumeHole } from '../../src/index.ts';
import { bundleScript } from '../support/bundle.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';

const MIB = 1024 * 1024;
const SECRET_UUID = '3f1c0d52-8403-4b23-88d6-21ccc2f80d6f';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'storage-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A pool on a new folder, running. */
async function openPool(storage: StorageOperations, name = 'p'): Promise<string> {
  const xml = `<pool type='dir'><name>${name}</name><target><path>${join(dir, name)}</path></target></pool>`;
  return (await storage.createXml(xml, { build: true })).uuid;
}

function volumeXml(name: string, rest: string): string {
  return `<volume><name>${name}</name>${rest}</volume>`;
}

async function codeOf(promise: Promise<unknown>): Promise<number> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VirtError);
  return error instanceof VirtError ? error.code : 0;
}

describe('volumes of an embedded connection', () => {
  it('hold a disk that was uploaded, and a guest boots from it', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    const uuid = await openPool(storage);
    const image = readFileSync(await bootSectorImage('poweroff'));
    const volume = await storage.createVolume(uuid, volumeXml('boot', `<capacity>${image.length}</capacity>`));
    await pipeline(Readable.from([image]), await storage.uploadVolume(volume));
    const disk =
      "<disk type='volume' device='disk'><source pool='p' volume='boot'/><target dev='vda' bus='virtio'/></disk>";
    await using guest = await connection.createDomain(domainXml({ name: 'on-volume', devices: disk }));
    const lines: string[] = [];
    for await (const line of guest.console().lines()) lines.push(line);
    expect(lines).toContain(greetingOf('poweroff'));
  });

  it('a guest on a volume above another one has the whole chain, and is refused where the pool does not run', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    const uuid = await openPool(storage);
    const image = readFileSync(await bootSectorImage('poweroff'));
    const base = await storage.createVolume(uuid, volumeXml('base', `<capacity>${image.length}</capacity>`));
    await pipeline(Readable.from([image]), await storage.uploadVolume(base));
    const backing = `<backingStore><path>${base.key}</path><format type='raw'/></backingStore>`;
    await storage.createVolume(
      uuid,
      volumeXml('top.qcow2', `<capacity>${image.length}</capacity><target><format type='qcow2'/></target>${backing}`),
    );
    const disk =
      "<disk type='volume' device='disk'><source pool='p' volume='top.qcow2'/><target dev='vda' bus='virtio'/></disk>";
    const xml = domainXml({ name: 'on-chain', devices: disk });
    await using guest = await connection.createDomain(xml);
    const lines: string[] = [];
    for await (const line of guest.console().lines()) lines.push(line);
    expect(lines).toContain(greetingOf('poweroff'));
    await guest.waitForStop();
    await storage.destroy(uuid);
    expect(await codeOf(connection.createDomain(xml))).toBe(ErrorCode.NO_STORAGE_POOL);
  });

  it('are encrypted with a secret that no command line shows, and opened with it', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    await connection.defineSecret(
      `<secret ephemeral='no' private='yes'><uuid>${SECRET_UUID}</uuid><usage type='volume'><volume>v</volume></usage></secret>`,
      'open sesame',
    );
    const uuid = await openPool(storage);
    const encryption = `<encryption format='luks'><secret type='passphrase' uuid='${SECRET_UUID}'/></encryption>`;
    const volume = await storage.createVolume(
      uuid,
      volumeXml('e.qcow2', `<capacity unit='MiB'>1</capacity><target><format type='qcow2'/>${encryption}</target>`),
    );
    const { stdout } = spawnSync('qemu-img', ['info', '--output=json', volume.key], { encoding: 'utf8' });
    expect(JSON.parse(stdout)).toMatchObject({ encrypted: true, format: 'qcow2' });
    expect(await storage.volumeXmlDesc(volume)).toContain(SECRET_UUID);
    const disk = `<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='p' volume='e.qcow2'>${encryption}</source><target dev='vda' bus='virtio'/></disk>`;
    await using guest = await connection.createDomain(domainXml({ name: 'sealed', devices: disk }), { paused: true });
    expect(await guest.isActive()).toBe(true);
  });

  it('go with a temporary root, and nothing of others goes with them', async () => {
    const foreign = join(dir, 'p', 'foreign');
    {
      await using connection = await connect('qemu:///embed');
      const uuid = await openPool(connection.storage);
      writeFileSync(foreign, 'mine');
      await connection.storage.refresh(uuid);
      expect((await connection.storage.listVolumes(uuid)).map(({ name }) => name)).toEqual(['foreign']);
    }
    expect(readFileSync(foreign, 'utf8')).toBe('mine');
  });

  it('are kept as they are where a request is wrong', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    const uuid = await openPool(storage);
    const pool = join(dir, 'p');
    const small = '<capacity>4096</capacity>';
    for (const name of ['../x', 'a/b', '..', '.']) {
      expect(await codeOf(storage.createVolume(uuid, volumeXml(name, small)))).toBe(ErrorCode.OPERATION_INVALID);
    }
    writeFileSync(join(pool, 'there'), 'mine');
    expect(await codeOf(storage.createVolume(uuid, volumeXml('there', small)))).toBe(ErrorCode.OPERATION_INVALID);
    expect(readFileSync(join(pool, 'there'), 'utf8')).toBe('mine');
    const huge = "<capacity unit='PiB'>4</capacity>";
    expect(await codeOf(storage.createVolume(uuid, volumeXml('huge', huge)))).toBe(ErrorCode.SYSTEM_ERROR);
    const cow = `${small}<target><format type='cow'/></target>`;
    expect(await codeOf(storage.createVolume(uuid, volumeXml('cow', cow)))).toBe(ErrorCode.INTERNAL_ERROR);
    expect(readdirSync(pool)).toEqual(['there']);
    expect(
      await codeOf(storage.createXml(`<pool type='dir'><name>q</name><target><path>${pool}/</path></target></pool>`)),
    ).toBe(ErrorCode.OPERATION_FAILED);
    expect(
      await codeOf(storage.createXml(`<pool type='dir'><name>q</name><target><path>${dir}/no</path></target></pool>`)),
    ).toBe(ErrorCode.SYSTEM_ERROR);
  });

  it('are found whatever lies in the folder: links, a cut-off image, what is no file', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    const uuid = await openPool(storage);
    const pool = join(dir, 'p');
    const outside = join(dir, 'outside');
    writeFileSync(outside, 'not yours');
    symlinkSync(outside, join(pool, 'link'));
    symlinkSync('nowhere', join(pool, 'dangling'));
    spawnSync('mkfifo', [join(pool, 'fifo')]);
    mkdirSync(join(pool, 'folder'));
    spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(pool, 'whole'), '1M']);
    writeFileSync(join(pool, 'cut'), readFileSync(join(pool, 'whole')).subarray(0, 20));
    await storage.refresh(uuid);
    expect((await storage.listVolumes(uuid)).map(({ name }) => name).sort()).toEqual([
      'cut',
      'folder',
      'link',
      'whole',
    ]);
    const cut = await storage.lookupVolume(uuid, 'cut');
    expect(await storage.volumeInfo(cut)).toMatchObject({ capacity: 20n, type: 'file' });
    expect(await storage.volumeXmlDesc(cut)).toContain("<format type='qcow2'/>");
    const link = await storage.lookupVolume(uuid, 'link');
    expect(await codeOf(storage.uploadVolume(link))).toBe(ErrorCode.OPERATION_DENIED);
    expect(await codeOf(storage.wipeVolume(link))).toBe(ErrorCode.OPERATION_DENIED);
    await storage.deleteVolume(link);
    expect(readFileSync(outside, 'utf8')).toBe('not yours');
  });

  it('are not removed or changed while they are written to', async () => {
    await using connection = await connect('qemu:///embed');
    const { storage } = connection;
    const uuid = await openPool(storage);
    const volume = await storage.createVolume(uuid, volumeXml('busy', '<capacity>4096</capacity>'));
    const upload = await storage.uploadVolume(volume);
    expect(await codeOf(storage.deleteVolume(volume))).toBe(ErrorCode.OPERATION_INVALID);
    expect(await codeOf(storage.resizeVolume(volume, 8192n))).toBe(ErrorCode.OPERATION_INVALID);
    expect(await codeOf(storage.destroy(uuid))).toBe(ErrorCode.INTERNAL_ERROR);
    await new Promise<void>((resolve) => {
      upload.once('close', () => resolve());
      upload.destroy();
    });
    await storage.deleteVolume(volume);
    expect(readdirSync(join(dir, 'p'))).toEqual([]);
  });

  it('take what fits, and say so, where the disk is full', async () => {
    const program = await bundleScript(fileURLToPath(new URL('storage-program.ts', import.meta.url)));
    const { stdout } = await promisify(execFile)(
      'unshare',
      ['--mount', '--propagation', 'private', process.execPath, program, dir],
      { encoding: 'utf8' },
    );
    expect(JSON.parse(stdout)).toEqual({
      upload: ErrorCode.SYSTEM_ERROR,
      create: ErrorCode.SYSTEM_ERROR,
      files: ['v'],
      uploadedAgain: true,
      mounted: ['inside'],
      unmounted: true,
    });
  });
});

describe.each(['embedded', 'daemon'])('streams, %s', (where) => {
  async function withStorage(body: (storage: StorageOperations) => Promise<void>): Promise<void> {
    if (where === 'embedded') {
      await using connection = await connect('qemu:///embed');
      return await body(connection.storage);
    }
    await using daemon = await startDaemon();
    await using connection = await connect(daemon.uri);
    await body(connection.storage);
  }

  it('carry bytes both ways, whole, in part and sparse', async () => {
    await withStorage(async (storage) => {
      const uuid = await openPool(storage);
      const capacity = `<capacity>${8 * MIB}</capacity><allocation>0</allocation>`;
      const volume = await storage.createVolume(uuid, volumeXml('v', capacity));
      const head = randomBytes(MIB + 17);
      const tail = randomBytes(MIB);
      await pipeline(Readable.from([head]), await storage.uploadVolume(volume));
      await pipeline(
        Readable.from([tail]),
        await storage.uploadVolume(volume, { offset: BigInt(6 * MIB), length: BigInt(MIB) }),
      );
      const whole = Buffer.concat(await (await storage.downloadVolume(volume)).toArray());
      const expected = Buffer.alloc(8 * MIB);
      head.copy(expected);
      tail.copy(expected, 6 * MIB);
      expect(whole.equals(expected)).toBe(true);
      const part = await storage.downloadVolume(volume, { offset: 5n, length: 100n });
      expect(Buffer.concat(await part.toArray())).toEqual(head.subarray(5, 105));

      const pieces: (Buffer | VolumeHole)[] = await (await storage.downloadVolume(volume, { sparse: true })).toArray();
      const holes = pieces.filter((piece): piece is VolumeHole => !Buffer.isBuffer(piece));
      expect(holes.reduce((sum, { holeBytes }) => sum + holeBytes, 0n)).toBeGreaterThan(BigInt(4 * MIB));
      const copy = await storage.createVolume(uuid, volumeXml('copy', capacity));
      // What was in the places of the holes must not shine through.
      await pipeline(Readable.from([Buffer.alloc(8 * MIB, 0xff)]), await storage.uploadVolume(copy));
      await pipeline(Readable.from(pieces), await storage.uploadVolume(copy, { sparse: true }));
      expect(readFileSync(copy.key).equals(expected)).toBe(true);
      expect((await storage.volumeInfo(copy)).allocation).toBeLessThan(BigInt(4 * MIB));
    });
  });

  it('are over when they have finished: the volume is nobody’s any more', async () => {
    await withStorage(async (storage) => {
      const uuid = await openPool(storage);
      const volume = await storage.createVolume(uuid, volumeXml('v', '<capacity>4096</capacity>'));
      const upload = await storage.uploadVolume(volume);
      const deleted = new Promise((resolve, reject) => {
        upload.once('finish', () => void storage.deleteVolume(volume).then(resolve, reject));
      });
      upload.end(Buffer.alloc(4096));
      await deleted;
    });
  });

  it('end with an error where more comes than was announced, and stop when they are given up', async () => {
    await withStorage(async (storage) => {
      const uuid = await openPool(storage);
      const volume = await storage.createVolume(
        uuid,
        volumeXml('v', `<capacity>${64 * MIB}</capacity><allocation>0</allocation>`),
      );
      const upload = await storage.uploadVolume(volume, { length: 10n });
      expect(await codeOf(pipeline(Readable.from([Buffer.alloc(20)]), upload))).toBe(ErrorCode.SYSTEM_ERROR);
      const download = await storage.downloadVolume(volume);
      await new Promise((resolve) => download.once('data', resolve));
      download.destroy();
      await expect
        .poll(
          async () =>
            await storage.deleteVolume(volume).then(
              () => true,
              () => false,
            ),
        )
        .toBe(true);
    });
  });
});

describe('a daemon that is killed', () => {
  it('has its pools running when it is back, and no half-made volume', async () => {
    await using daemon = await startDaemon();
    const state = daemon.stateDir;
    {
      await using connection = await connect(daemon.uri);
      const { storage } = connection;
      const xml = `<pool type='dir'><name>kept</name><target><path>${join(dir, 'kept')}</path></target></pool>`;
      const { uuid } = await storage.define(xml);
      await storage.create(uuid, { build: true });
      await storage.setAutostart(uuid, true);
      await storage.createVolume(uuid, volumeXml('v', '<capacity>4096</capacity>'));
      await openPool(storage, 'transient');
    }
    expect(existsSync(join(state, 'etc', 'storage', 'kept.xml'))).toBe(true);
    await daemon.crash();
    {
      await using connection = await connect(daemon.uri);
      const { storage } = connection;
      expect((await storage.list({ active: true })).map(({ name }) => name).sort()).toEqual(['kept', 'transient']);
      const { uuid } = await storage.lookupByName('kept');
      expect(await storage.autostart(uuid)).toBe(true);
      expect(await storage.isPersistent((await storage.lookupByName('transient')).uuid)).toBe(false);
      expect((await storage.lookupVolumeByPath(join(dir, 'kept', 'v'))).name).toBe('v');
      // A key takes its time: long enough to be killed at it.
      await connection.defineSecret(
        `<secret ephemeral='no' private='no'><uuid>${SECRET_UUID}</uuid><usage type='volume'><volume>v</volume></usage></secret>`,
        'open sesame',
      );
      const encryption = `<encryption format='luks'><secret type='passphrase' uuid='${SECRET_UUID}'/></encryption>`;
      const making = storage.createVolume(
        uuid,
        volumeXml('big', `<capacity unit='MiB'>64</capacity><target><format type='raw'/>${encryption}</target>`),
      );
      const ended = making.then(
        () => true,
        () => false,
      );
      await expect.poll(() => readdirSync(join(dir, 'kept')).some((name) => name !== 'v')).toBe(true);
      await daemon.stop('SIGKILL');
      expect(await ended).toBe(false);
    }
    await daemon.start();
    expect(readdirSync(join(dir, 'kept'))).toEqual(['v']);
    expect(existsSync(join(state, 'run', 'storage-secrets'))).toBe(false);
  });
});

/** What virsh says, without what cannot be the same twice. */
function saidBy(uri: string, commands: readonly string[]): string[] {
  return commands.map((line) => {
    const { status, stdout, stderr } = spawnSync('virsh', ['-c', uri, ...line.split(' ')], { encoding: 'utf8' });
    const text = `${stdout}${stderr}`
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
      .replace(/<([acmb]time)>[0-9.]+</g, '<$1>…<')
      .replace(/[0-9.]+ [GT]iB/g, '… GiB')
      .replace(/(<(?:capacity|allocation|available) unit='bytes'>)\d{10,}/g, '$1…')
      .replace(/-{5,}/g, '---')
      .replace(/ {2,}/g, '  ');
    return `${line} -> ${status}\n${text}`;
  });
}

describe('virsh', () => {
  const available = hasLibvirtd() && spawnSync('virsh', ['--version']).status === 0;
  if (!available)
    process.stderr.write('SKIPPED: virsh on storage: libvirt-clients or libvirt-daemon is not installed\n');

  it.skipIf(!available)('sees the same pools and volumes as with libvirtd', async () => {
    const pool = join(dir, 'pool');
    const upload = join(dir, 'upload');
    writeFileSync(upload, randomBytes(100_000));
    const session = [
      `pool-define-as p dir --target ${pool}`,
      'pool-start p',
      'pool-build p',
      'pool-start p',
      'pool-start p',
      'pool-undefine p',
      'pool-list --all',
      'pool-list --all --details',
      'pool-info p',
      'pool-dumpxml p',
      'pool-autostart p',
      'pool-uuid p',
      `pool-define-as other dir --target ${pool}/`,
      'vol-create-as p a 1M',
      'vol-create-as p a 1M',
      'vol-create-as p ../b 1M',
      'vol-create-as p thin 10M --allocation 0',
      'vol-create-as p b.qcow2 10M --format qcow2',
      'vol-create-as p c.qcow2 10M --format qcow2 --backing-vol b.qcow2 --backing-vol-format qcow2',
      'vol-create-as p d 1M --backing-vol a',
      'vol-create-as p z.vmdk 1M --format vmdk',
      'vol-list p',
      'vol-list p --details',
      // libvirtd knows the size of clusters from then on.
      'pool-refresh p',
      'vol-dumpxml a p',
      'vol-dumpxml b.qcow2 p',
      'vol-dumpxml c.qcow2 p',
      'vol-dumpxml z.vmdk p',
      'vol-info thin p',
      'vol-info thin p --bytes --physical',
      'vol-key a p',
      'vol-path a p',
      `vol-pool ${pool}/a`,
      'vol-info nope p',
      'vol-resize thin 20M p',
      'vol-resize thin 10M p',
      'vol-resize thin 10M p --shrink',
      'vol-resize thin 1M p --delta',
      'vol-resize b.qcow2 20M p',
      'vol-info b.qcow2 p',
      'vol-clone a copy --pool p',
      'vol-clone b.qcow2 copy.qcow2 --pool p',
      'vol-clone a a --pool p',
      'vol-dumpxml copy p',
      `vol-upload thin ${upload} p`,
      `vol-upload thin ${upload} p --offset 5000000 --length 100000 --sparse`,
      `vol-download thin ${join(dir, 'down')} p`,
      `vol-download thin ${join(dir, 'sparse')} p --sparse`,
      'vol-info thin p',
      'vol-wipe thin p',
      'vol-wipe thin p --algorithm trim',
      'vol-delete copy p',
      'pool-refresh p',
      'vol-list p',
      'find-storage-pool-sources dir',
      'pool-destroy p',
      'vol-list p',
      'pool-delete p',
      'pool-undefine p',
      'pool-info p',
    ];
    const run = (uri: string): { said: string[]; files: string[] } => {
      const said = saidBy(uri, session);
      const files = ['down', 'sparse'].map((name) => {
        const path = join(dir, name);
        const { size, blocks } = statSync(path);
        const whole = readFileSync(path).toString('base64');
        rmSync(path);
        return `${size} ${name === 'sparse' ? blocks * 512 < size / 2 : true} ${whole}`;
      });
      rmSync(pool, { recursive: true, force: true });
      return { said, files };
    };
    await using libvirtd = await startLibvirtd();
    const theirs = run(libvirtd.uri);
    await using daemon = await startDaemon();
    const ours = run(daemon.uri);
    expect(ours.said).toEqual(theirs.said);
    expect(ours.files).toEqual(theirs.files);
  });
});

describe('virt-install', () => {
  const available = spawnSync('virt-install', ['--version']).status === 0;
  if (!available) process.stderr.write('SKIPPED: virt-install on a pool: virtinst is not installed\n');

  it.skipIf(!available)('makes a volume of the default pool and a guest on it; virt-clone copies both', async () => {
    await using daemon = await startDaemon();
    await using connection = await connect(daemon.uri);
    const xml = `<pool type='dir'><name>default</name><target><path>${join(dir, 'images')}</path></target></pool>`;
    await connection.storage.createXml(xml, { build: true });
    const run = (command: string, ...args: string[]): string => {
      const options = { encoding: 'utf8', env: { ...process.env, HOME: dir } } as const;
      const { status, stdout, stderr } = spawnSync(command, ['--connect', daemon.uri, ...args], options);
      expect(`${status} ${stderr}`).toMatch(/^0 /);
      return stdout;
    };
    const guest =
      '--name vi --memory 32 --virt-type qemu --osinfo detect=off,require=off --network none --graphics none';
    run('virt-install', ...guest.split(' '), '--noautoconsole', '--import', '--disk', 'pool=default,size=0.01');
    run('virsh', 'destroy', 'vi');
    run('virt-clone', '--original', 'vi', '--name', 'vj', '--auto-clone');
    expect(readdirSync(join(dir, 'images')).sort()).toEqual(['vi.qcow2', 'vj.qcow2']);
    for (const name of ['vi', 'vj']) run('virsh', 'undefine', name, '--remove-all-storage');
    expect(readdirSync(join(dir, 'images'))).toEqual([]);
  });
});
