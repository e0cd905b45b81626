/**
 * The embedded driver on real QEMU: a guest's whole life through the library, its console, its log, its events, what
 * happens when something is wrong, and that nothing stays behind.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Connection,
  connect,
  type DomainEvent,
  DomainState,
  ErrorCode,
  StateReason,
  VirtError,
} from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { LINUX_GUEST_CMDLINE, LINUX_GUEST_READY, linuxGuest } from '../support/guests/linux-guest.ts';
import { createLuksImage } from '../support/luks.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'embedded-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function guestXml(
  kind: Parameters<typeof bootSectorImage>[0],
  overrides: Parameters<typeof domainXml>[0] = {},
): Promise<string> {
  return domainXml({ name: `t-${kind}`, disks: [{ path: await bootSectorImage(kind), readonly: true }], ...overrides });
}

/** The error that a call fails with. */
async function failureOf(promise: Promise<unknown>): Promise<VirtError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VirtError);
  return error as VirtError;
}

describe('a guest in the scope of its program', () => {
  it('is started, heard, and powered off by itself', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(await guestXml('poweroff'));
    const lines: string[] = [];
    for await (const line of guest.console().lines()) lines.push(line);
    expect(lines).toContain(greetingOf('poweroff'));
    expect(await guest.waitForStop()).toMatchObject({ detail: 'shutdown' });
    expect(await connection.listAllDomains()).toEqual([]);
    // Asked again when the transient domain is long forgotten.
    expect(await guest.waitForStop()).toMatchObject({ detail: 'shutdown' });
  });

  it('reacts to the power button, pause, resume and reset', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(await guestXml('powerbutton'));
    // The whole line: a reset in the middle of it would join it with the next.
    await guest.console().waitFor(`${greetingOf('powerbutton')}\r\n`);
    expect(await guest.state()).toEqual({ state: DomainState.RUNNING, reason: StateReason.running.BOOTED });
    await guest.suspend();
    expect(await guest.state()).toEqual({ state: DomainState.PAUSED, reason: StateReason.paused.USER });
    await guest.resume();
    await guest.reset();
    let seen = 0;
    for await (const line of guest.console().lines()) if (line === greetingOf('powerbutton') && ++seen === 2) break;
    await guest.shutdown({ signal: AbortSignal.timeout(30_000) });
    expect((await failureOf(guest.suspend())).code).toBe(ErrorCode.NO_DOMAIN);
  });

  it('sends its events in order, with libvirt’s names', async () => {
    await using connection = await connect('qemu:///embed');
    const events: DomainEvent[] = [];
    const following = (async () => {
      for await (const event of connection.events()) events.push(event);
    })();
    {
      await using guest = await connection.createDomain(await guestXml('halt'), { paused: true });
      await guest.resume();
      await guest.console().waitFor(greetingOf('halt'));
      await guest.destroy();
    }
    await connection.close();
    await following;
    const lifecycle = events.flatMap((event) => (event.event === 'lifecycle' ? [`${event.type} ${event.detail}`] : []));
    expect(lifecycle).toEqual([
      'started booted',
      'suspended paused',
      'resumed unpaused',
      'shutdown host',
      'stopped destroyed',
    ]);
    expect(events[0]?.domain).toMatchObject({ name: 't-halt', id: 1 });
  });

  it('is answered when it types back', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(await guestXml('echo'));
    await guest.console().waitFor(greetingOf('echo'));
    const heard = guest.console().waitFor('ping pong', { replay: false });
    await guest.console().write('ping pong');
    expect(await heard).toContain('ping pong');
  });

  it('runs Linux with a disk, and leaves by its own poweroff', async () => {
    const linux = await linuxGuest();
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(
      domainXml({
        name: 'linux',
        memoryMiB: 192,
        ...linux,
        cmdline: LINUX_GUEST_CMDLINE,
        devices: "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
      }),
    );
    await guest.console().waitFor(LINUX_GUEST_READY, { signal: AbortSignal.timeout(60_000) });
    await guest.console().write('uname -m; poweroff\n');
    await guest.console().waitFor(/^x86_64/m, { signal: AbortSignal.timeout(30_000) });
    expect(await guest.waitForStop({ signal: AbortSignal.timeout(30_000) })).toMatchObject({ detail: 'shutdown' });
  });

  it('starts twenty at once in one process', async () => {
    await using connection = await connect('qemu:///embed');
    const image = await bootSectorImage('halt');
    const guests = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        connection.createDomain(
          domainXml({ name: `many-${index}`, memoryMiB: 16, disks: [{ path: image, readonly: true }] }),
        ),
      ),
    );
    await Promise.all(guests.map((guest) => guest.console().waitFor(greetingOf('halt'))));
    expect(await connection.listAllDomains({ active: true })).toHaveLength(20);
    expect(new Set(await Promise.all(guests.map((guest) => guest.id()))).size).toBe(20);
  });
});

describe('a kept root', () => {
  it('holds definitions, autostart marks and logs as libvirt does, and is exclusive', async () => {
    const root = join(scratch, 'root');
    const uri = `qemu:///embed?root=${root}`;
    {
      await using connection = await connect(uri);
      const domain = await connection.defineDomain(await guestXml('poweroff', { name: 'kept' }));
      await domain.setAutostart(true);
      expect((await failureOf(connect(uri))).code).toBe(ErrorCode.RESOURCE_BUSY);
      await domain.create();
      expect(await domain.waitForStop()).toMatchObject({ detail: 'shutdown' });
      expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SHUTDOWN });
    }
    expect(readFileSync(join(root, 'etc/qemu/autostart/kept.xml'), 'utf8')).toContain('<name>kept</name>');
    const log = readFileSync(join(root, 'log/qemu/kept.log'), 'utf8');
    expect(log).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: starting up nestling version: /);
    expect(log).toMatch(/^LC_ALL=C \\$/m);
    expect(log).toMatch(/: shutting down, reason=shutdown\n$/);
    expect(readFileSync(join(root, 'log/qemu/kept-serial0.log'), 'utf8')).toContain(greetingOf('poweroff'));
    {
      await using connection = await connect(uri);
      const domain = await connection.lookupDomainByName('kept');
      expect(await domain.autostart()).toBe(true);
      const renamed = await domain.rename('other');
      expect(await renamed.xmlDesc()).toContain('<name>other</name>');
      await renamed.undefine();
      expect(await connection.listAllDomains()).toEqual([]);
    }
    expect(readdirSync(join(root, 'etc/qemu'))).toEqual(['autostart']);
    expect(existsSync(join(root, 'run/driver.lock'))).toBe(false);
  });

  it('may have a path of any length, and a TMPDIR of any length', async () => {
    const long = join(scratch, 'x'.repeat(120), 'y'.repeat(100));
    const before = process.env['TMPDIR'];
    try {
      await using kept = await connect(`qemu:///embed?root=${long}`);
      const channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
      await using guest = await kept.createDomain(await guestXml('halt', { devices: channel }));
      await guest.console().waitFor(greetingOf('halt'));
      mkdirSync(join(long, 'tmp'));
      process.env['TMPDIR'] = join(long, 'tmp');
      await using temporary = await connect('qemu:///embed');
      await using other = await temporary.createDomain(await guestXml('halt', { devices: channel }));
      await other.console().waitFor(greetingOf('halt'));
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
    expect(readdirSync(join(long, 'tmp'))).toEqual([]);
  });
});

describe('what goes wrong', () => {
  let connection: Connection;
  beforeAll(async () => {
    connection = await connect('qemu:///embed');
  });
  afterAll(() => connection.close());

  it.each([
    ['a machine that does not exist', { machine: 'q36' }, /q36/],
    [
      'a disk that does not exist',
      { disks: [{ path: '/nonexistent/disk.img' }] },
      /\/nonexistent\/disk\.img.*No such file/,
    ],
    [
      'an emulator that does not exist',
      { emulator: '/usr/bin/qemu-system-none' },
      /no emulator \/usr\/bin\/qemu-system-none/,
    ],
    ['KVM that is not usable', { accel: 'kvm' as const }, /needs KVM, which is not usable here: .+--accel tcg/],
  ])('%s: object, cause and fix', async (_, overrides, message) => {
    // Where KVM really works there is nothing wrong.
    if ('accel' in overrides && (await usableKvm())) return;
    const error = await failureOf(guestXml('halt', overrides).then((xml) => connection.createDomain(xml)));
    expect(error.message).toMatch(message);
    expect(await connection.listAllDomains()).toEqual([]);
  });

  it('a port in use: QEMU’s own words', async () => {
    const { createServer } = await import('node:net');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const graphics = `<graphics type='vnc' port='${port}' listen='127.0.0.1'/>`;
    const error = await failureOf(guestXml('halt', { devices: graphics }).then((xml) => connection.createDomain(xml)));
    expect(error.message).toMatch(/^cannot start guest t-halt: .*(Address already in use|Failed to bind|in use)/);
    await new Promise((resolve) => server.close(resolve));
  });

  it('every fault of the XML at once, with lines', async () => {
    const xml = (await guestXml('halt')).replace("type='pty'", "type='ptty'").replace('<vcpu>1<', '<vcpu>many<');
    const { message, code } = await failureOf(connection.createDomain(xml, { fileName: 'g.xml' }));
    expect(code).toBe(ErrorCode.XML_ERROR);
    expect(message).toMatch(/g\.xml:4:\d+: domain\/vcpu: value 'many'/);
    expect(message).toMatch(
      /g\.xml:\d+:\d+: domain\/devices\/serial\[1\]\/@type: value 'ptty' is unknown: did you mean 'pty'\?/,
    );
  });

  it('a name or UUID that is taken', async () => {
    await using guest = await connection.createDomain(await guestXml('halt', { name: 'taken' }));
    const again = await failureOf(guestXml('halt', { name: 'taken' }).then((xml) => connection.createDomain(xml)));
    expect(again.message).toContain(`domain 'taken' already exists with UUID ${guest.uuid}`);
    const sameUuid = await failureOf(
      guestXml('halt', { name: 'free', uuid: guest.uuid }).then((xml) => connection.createDomain(xml)),
    );
    expect(sameUuid.message).toContain("'taken' is already defined");
  });

  it('QEMU killed from outside: crashed, with the log’s end', async () => {
    await using guest = await connection.createDomain(await guestXml('halt', { name: 'killed' }));
    await guest.console().waitFor(greetingOf('halt'));
    const pids = execFileSync('pgrep', ['-f', '-x', '.*qemu-system-x86_64 .*guest=killed,.*'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    expect(pids).toHaveLength(1);
    process.kill(Number(pids[0]), 'SIGKILL');
    expect(await guest.waitForStop()).toMatchObject({
      detail: 'crashed',
      reason: expect.stringContaining('SIGKILL'),
      serialTail: expect.stringContaining(greetingOf('halt')),
    });
  });

  it('a triple fault restarts, a panic ends as the definition says', async () => {
    const panic = await guestXml('panic', { devices: "<panic model='isa'/>", onCrash: 'destroy' });
    await using guest = await connection.createDomain(panic);
    expect(await guest.waitForStop()).toMatchObject({ detail: 'crashed' });
  });

  it('a read-only cache and an unwritable home: slower, not broken', async () => {
    const cacheDir = join(scratch, 'no-cache');
    writeFileSync(cacheDir, 'a file where the folder should be');
    const notes: string[] = [];
    await using other = await connect('qemu:///embed', { cacheDir, onNote: (note) => notes.push(note) });
    await using guest = await other.createDomain(await guestXml('halt', { name: 'no-cache' }));
    await guest.console().waitFor(greetingOf('halt'));
    expect(notes.join('\n')).toContain(cacheDir);
  });

  it('an aborted start leaves nothing', async () => {
    const abort = new AbortController();
    const starting = guestXml('halt', { name: 'aborted' }).then((xml) =>
      connection.createDomain(xml, { signal: abort.signal }),
    );
    queueMicrotask(() => abort.abort(new Error('changed my mind')));
    await expect(starting).rejects.toThrow('changed my mind');
    expect(await connection.listAllDomains()).toEqual([]);
  });
});

async function usableKvm(): Promise<boolean> {
  const { readHostFacts } = await import('../../src/host/host-facts.ts');
  return (await readHostFacts(['kvm'])).kvm.usable;
}

describe('secrets', () => {
  it('open a LUKS-encrypted qcow2 disk without appearing in arguments, environment or log', async () => {
    const password = 'correct-horse-battery';
    const image = join(scratch, 'luks.qcow2');
    const uuid = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';
    const format = ['-f', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10'];
    createLuksImage(['--object', `secret,id=s,data=${password}`, ...format, image, '8M']);
    chmodSync(image, 0o600);
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${image}'><encryption format='luks'><secret type='passphrase' uuid='${uuid}'/></encryption></source><target dev='vdb' bus='virtio'/></disk>`;
    const root = join(scratch, 'secret-root');
    await using connection = await connect(`qemu:///embed?root=${root}`);
    const xml = await guestXml('halt', { name: 'luks', devices: disk });
    expect((await failureOf(connection.createDomain(xml))).code).toBe(ErrorCode.NO_SECRET);
    await connection.defineSecret(`<secret ephemeral='yes' private='yes'><uuid>${uuid}</uuid></secret>`, 'wrong');
    expect((await failureOf(connection.createDomain(xml))).message).toMatch(/Invalid password/);
    await connection.defineSecret(`<secret ephemeral='yes' private='yes'><uuid>${uuid}</uuid></secret>`, password);
    await using guest = await connection.createDomain(xml);
    await guest.console().waitFor(greetingOf('halt'));
    const [pid] = execFileSync('pgrep', ['-f', 'guest=luks,'], { encoding: 'utf8' }).trim().split('\n');
    const seen = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'latin1')).join('');
    const log = readFileSync(join(root, 'log/qemu/luks.log'), 'latin1');
    for (const form of [password, Buffer.from(password).toString('base64')]) {
      expect(seen).not.toContain(form);
      expect(log).not.toContain(form);
    }
    expect(statSync(join(root, 'log/qemu/luks.log')).mode & 0o077).toBe(0);
  });
});
