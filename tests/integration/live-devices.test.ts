/**
 * Devices that join and leave running guests on real QEMU: that what QEMU has open is what the definition says, that nothing is left of what
 * was refused, media, links, virtual CPUs. A boot sector does where the guest need not help; Linux lets go of PCI devices.
 */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectSocket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain, type DomainEvent, ErrorCode, VirtError } from '../../src/index.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { LINUX_GUEST_CMDLINE, LINUX_GUEST_READY, linuxGuest } from '../support/guests/linux-guest.ts';
import { createLuksImage } from '../support/luks.ts';

let scratch: string;
let connection: Connection;
let guest: Domain;
let events: DomainEvent[];
let following: Promise<void>;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'nestling-live-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
beforeEach(async () => {
  connection = await connect('qemu:///embed');
  events = [];
  following = (async () => {
    for await (const event of connection.events()) events.push(event);
  })();
});
afterEach(async () => {
  await connection.close();
  await following;
});

const PORTS = Array.from({ length: 12 }, (_, n) => `<controller type='pci' index='${n + 1}' model='pcie-root-port'/>`);
const DRIVES =
  "<disk type='file' device='cdrom'><target dev='sdc' bus='sata'/><readonly/></disk><disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>";
const NET = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>";
const BUSES =
  "<controller type='usb' model='qemu-xhci'/><controller type='virtio-serial'/><controller type='scsi' model='virtio-scsi'/>";

function image(name: string, sizeBytes = 1 << 20): string {
  const path = join(scratch, name);
  writeFileSync(path, Buffer.alloc(sizeBytes), { mode: 0o666 });
  return path;
}

function diskXml(target: string, bus: string, file: string, device = 'disk'): string {
  const source = file === '' ? '' : `<source file='${file}'/>`;
  return `<disk type='file' device='${device}'><driver name='qemu' type='raw'/>${source}<target dev='${target}' bus='${bus}'/></disk>`;
}

async function bootSectorGuest(vcpus = 1): Promise<void> {
  const xml = domainXml({
    name: 'live',
    disks: [{ path: await bootSectorImage('halt'), readonly: true }],
    devices: BUSES + PORTS.join('') + DRIVES + NET,
  });
  guest = await connection.createDomain(xml.replace('<vcpu>1</vcpu>', `<vcpu current='1'>${vcpus}</vcpu>`));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

async function isAnswered(port: number): Promise<boolean> {
  const socket = connectSocket({ host: '127.0.0.1', port });
  return await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  }).finally(() => socket.destroy());
}

async function ask(command: string, args: Parameters<Domain['qemuMonitorCommand']>[1] = {}): Promise<unknown> {
  return await guest.qemuMonitorCommand(command, args);
}

/** The file that QEMU has open behind each drive, by alias. */
async function openFiles(): Promise<Record<string, string>> {
  const blocks = (await ask('query-block')) as { qdev?: string; inserted?: { file: string } }[];
  return Object.fromEntries(
    blocks.flatMap(({ qdev, inserted }) => {
      const alias = qdev?.split('/').find((part) => /^(?:virtio-disk|scsi|usb-disk|sata|fdc)\d/.test(part));
      return alias === undefined || inserted === undefined ? [] : [[alias, inserted.file]];
    }),
  );
}

/** The file that the live definition names for each drive, by alias. */
async function namedFiles(): Promise<Record<string, string>> {
  const disks = (await guest.xmlDesc()).match(/<disk [^]*?<\/disk>/g) ?? [];
  return Object.fromEntries(
    disks.flatMap((disk) => {
      const file = /<source file='([^']+)'/.exec(disk)?.[1];
      return file === undefined ? [] : [[/<alias name='([^']+)'/.exec(disk)?.[1] ?? '', file]];
    }),
  );
}

async function expectTrueDisks(count: number): Promise<void> {
  const open = await openFiles();
  expect(open).toEqual(await namedFiles());
  expect(Object.keys(open)).toHaveLength(count);
}

/** Everything of QEMU's that a device can leave behind. */
async function inventory(): Promise<string[]> {
  const nodes = (await ask('query-named-block-nodes', { flat: true })) as { 'node-name': string }[];
  const chardevs = (await ask('query-chardev')) as { label: string }[];
  const objects = (await ask('qom-list', { path: '/objects' })) as { name: string }[];
  const devices = (await ask('qom-list', { path: '/machine/peripheral' })) as { name: string }[];
  return [...nodes.map((node) => node['node-name']), ...chardevs.map(({ label }) => label)]
    .concat(
      objects.map(({ name }) => name),
      devices.map(({ name }) => name),
    )
    .sort();
}

async function failureOf(promise: Promise<unknown>): Promise<VirtError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VirtError);
  return error as VirtError;
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  await expect.poll(isTrue, { timeout: 60_000, interval: 100 }).toBe(true);
}

const LIVE = { live: true } as const;

describe('a device that joins', () => {
  beforeEach(async () => await bootSectorGuest());

  it('is joined to its own image, wherever it stands among the disks', async () => {
    await expectTrueDisks(1);
    await guest.attachDevice(diskXml('vdc', 'virtio', image('c.img', 3 << 20)), LIVE);
    await guest.attachDevice(diskXml('vdb', 'virtio', image('b.img', 2 << 20)), LIVE);
    await guest.attachDevice(diskXml('sda', 'scsi', image('s.img', 4 << 20)), LIVE);
    await guest.attachDevice(diskXml('sdb', 'usb', image('u.img', 5 << 20)), LIVE);
    await expectTrueDisks(5);
    expect(await guest.blockInfo('vdb')).toMatchObject({ capacity: 2n << 20n });
    expect(await guest.blockInfo('vdc')).toMatchObject({ capacity: 3n << 20n });
    await guest.blockResize('vdb', 6n << 20n);
    expect(await guest.blockInfo('vdb')).toMatchObject({ capacity: 6n << 20n });
    expect(await guest.blockInfo('vda')).toMatchObject({ capacity: 1n << 20n });
  });

  it('leaves nothing when QEMU refuses it', async () => {
    const before = [await inventory(), await guest.xmlDesc()];
    const missing = await failureOf(guest.attachDevice(diskXml('vdb', 'virtio', join(scratch, 'none.img')), LIVE));
    expect(missing.message).toContain('none.img');
    await failureOf(guest.attachDevice(diskXml('sdd', 'sata', image('sata.img')), LIVE));
    await failureOf(guest.attachDevice("<serial type='pty'><target type='isa-serial' port='1'/></serial>", LIVE));
    expect([await inventory(), await guest.xmlDesc()]).toEqual(before);
    const taken = await failureOf(guest.attachDevice(diskXml('vda', 'virtio', image('again.img')), LIVE));
    expect(taken.code).toBe(ErrorCode.OPERATION_FAILED);
  });

  it('is made or not made at all when the caller gives up', async () => {
    const before = await inventory();
    const giveUp = new AbortController();
    const attached = guest.attachDevice(diskXml('vdb', 'virtio', image('gone.img')), {
      ...LIVE,
      signal: giveUp.signal,
    });
    queueMicrotask(() => giveUp.abort());
    await expect(attached).rejects.toThrow();
    expect(await inventory()).toEqual(before);
    expect(Object.keys(await namedFiles())).toHaveLength(1);
  });

  it('leaves again without the guest where its bus allows, and takes everything along', async () => {
    const before = await inventory();
    const disk = diskXml('sdb', 'usb', image('usb.img'));
    const serial = "<serial type='null'><target type='usb-serial'/></serial>";
    const channel = "<channel type='pty'><target type='virtio' name='org.example.0'/></channel>";
    for (const xml of [disk, serial, channel]) await guest.attachDevice(xml, LIVE);
    expect(await inventory()).not.toEqual(before);
    for (const xml of [disk, serial, channel]) await guest.detachDevice(xml, LIVE);
    expect(await inventory()).toEqual(before);
    const names = events.map(({ event }) => event).filter((name) => name.startsWith('device-'));
    expect(names).toEqual([...Array(3).fill('device-added'), ...Array(3).fill('device-removed')]);
    expect((await failureOf(guest.detachDevice(disk, LIVE))).code).toBe(ErrorCode.DEVICE_MISSING);
  });

  it('brings descriptors and secrets along, and leaves none of them behind', async () => {
    const uuid = '1f0c8a52-7a77-4c05-8d10-9d4b1f3c2a11';
    await connection.defineSecret(`<secret ephemeral='yes' private='yes'><uuid>${uuid}</uuid></secret>`, 'sesame');
    const luks = join(scratch, 'luks.img');
    createLuksImage([
      '--object',
      'secret,id=s,data=sesame',
      '-f',
      'luks',
      '-o',
      'key-secret=s,iter-time=10',
      luks,
      '1M',
    ]);
    const sets = async (): Promise<unknown> => await ask('query-fdsets');
    const before = [await inventory(), await sets()];
    const [log, socket] = [join(scratch, 'serial.log'), join(scratch, 'own.sock')];
    const devices = [
      `<serial type='file'><source path='${log}'/><target type='usb-serial'/></serial>`,
      `<channel type='unix'><source mode='bind' path='${socket}'/><target type='virtio' name='org.example.1'/></channel>`,
      "<channel type='unix'><target type='virtio' name='org.example.2'/></channel>",
      `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${luks}'><encryption format='luks'><secret type='passphrase' uuid='${uuid}'/></encryption></source><target dev='sdc' bus='usb'/></disk>`,
    ].map((xml) => xml.replace("dev='sdc'", "dev='sdb'"));
    for (const xml of devices) await guest.attachDevice(xml, LIVE);
    expect(existsSync(log)).toBe(true);
    // Whoever opens the socket speaks with QEMU.
    const client = connectSocket(socket);
    await once(client, 'connect');
    client.destroy();
    const own = /<source mode='bind' path='([^']+org\.example\.2)'/.exec(await guest.xmlDesc())?.[1] ?? '';
    expect(existsSync(own)).toBe(true);
    // What is encrypted is smaller than its file.
    expect((await guest.blockInfo('sdb')).capacity).toBe(1n << 20n);
    expect(await guest.xmlDesc({ secure: true })).not.toContain('sesame');
    for (const xml of devices) await guest.detachDevice(xml, LIVE);
    expect([await inventory(), await sets()]).toEqual(before);
    expect([existsSync(socket), existsSync(own)]).toEqual([false, false]);
  });

  it('has the same made-up address now and at the next start', async () => {
    const xml = domainXml({
      name: 'both',
      disks: [{ path: await bootSectorImage('halt'), readonly: true }],
      devices: PORTS.slice(0, 6).join(''),
    });
    guest = await connection.defineDomain(xml);
    await guest.create();
    await guest.attachDevice("<interface type='user'><model type='virtio'/></interface>", { live: true, config: true });
    const macOf = (text: string): string | undefined => /<mac address='([^']+)'/.exec(text)?.[1];
    const live = macOf(await guest.xmlDesc());
    expect(live).toBeDefined();
    expect(macOf(await guest.xmlDesc({ inactive: true }))).toBe(live);
    await guest.destroy();
    await guest.undefine();
  });
});

describe('a change of what is there', () => {
  beforeEach(async () => await bootSectorGuest(4));

  it('puts a medium in, another one, and takes it out', async () => {
    const [a, b] = [image('a.iso'), image('b.iso')];
    for (const [target, bus, device] of [
      ['sdc', 'sata', 'cdrom'],
      ['fda', 'fdc', 'floppy'],
    ] as const) {
      for (const medium of [a, b]) {
        await guest.updateDevice(diskXml(target, bus, medium, device), LIVE);
        expect(Object.values(await openFiles())).toContain(medium);
        await expectTrueDisks(2);
      }
      await guest.updateDevice(diskXml(target, bus, '', device), LIVE);
      await expectTrueDisks(1);
    }
    const missing = await failureOf(guest.updateDevice(diskXml('sdc', 'sata', join(scratch, 'no.iso'), 'cdrom'), LIVE));
    expect(missing.message).toContain('no.iso');
    await expectTrueDisks(1);
  });

  it('takes a link down, and changes nothing else of an interface in silence', async () => {
    await guest.updateDevice(NET.replace('</interface>', "<link state='down'/></interface>"), LIVE);
    expect(await guest.xmlDesc()).toContain("<link state='down'/>");
    const other = await failureOf(guest.updateDevice(NET.replace("'virtio'", "'e1000'"), LIVE));
    expect(other.code).toBe(ErrorCode.OPERATION_UNSUPPORTED);
    expect(await guest.xmlDesc()).not.toContain('e1000');
  });

  it('forwards ports of the host to a user-mode network while it runs, and no longer', async () => {
    const port = await freePort();
    const forward = (to: number): string =>
      NET.replace(
        '</interface>',
        `<portForward proto='tcp' address='127.0.0.1'><range start='${to}' to='22'/></portForward></interface>`,
      );
    expect(await isAnswered(port)).toBe(false);
    await guest.updateDevice(forward(port), LIVE);
    expect(await isAnswered(port)).toBe(true);
    expect(await guest.xmlDesc()).toContain(`<range start='${port}' to='22'/>`);
    // A port that somebody has: the old one stays.
    const taken = createServer();
    await new Promise<void>((resolve) => {
      taken.listen(0, '127.0.0.1', resolve);
    });
    const { port: other } = taken.address() as AddressInfo;
    expect(await failureOf(guest.updateDevice(forward(other), LIVE))).toMatchObject({
      code: ErrorCode.OPERATION_FAILED,
      message: expect.stringContaining(`cannot forward tcp:127.0.0.1:${other} to the guest`),
    });
    taken.close();
    expect(await isAnswered(port)).toBe(true);
    expect(await guest.xmlDesc()).toContain(`<range start='${port}' to='22'/>`);
    await guest.updateDevice(NET, LIVE);
    expect(await isAnswered(port)).toBe(false);
  });

  it('plugs virtual CPUs', async () => {
    await guest.setVcpus(3, LIVE);
    expect(await ask('query-cpus-fast')).toHaveLength(3);
    expect(await guest.vcpuCount(LIVE)).toBe(3);
    await guest.setVcpu([3], true, LIVE);
    expect(await guest.vcpuCount(LIVE)).toBe(4);
    expect((await failureOf(guest.setVcpu([0], false, LIVE))).code).toBe(ErrorCode.OPERATION_UNSUPPORTED);
    expect((await failureOf(guest.setVcpu([3], true, LIVE))).message).toContain('already in requested state');
    expect((await failureOf(guest.setVcpus(5, LIVE))).code).toBe(ErrorCode.INVALID_ARG);
  });

  it('ends the guest instead of resetting it once told so', async () => {
    await guest.setLifecycleAction('reboot', 'destroy', LIVE);
    await ask('system_reset');
    expect(await guest.waitForStop({ signal: AbortSignal.timeout(30_000) })).toMatchObject({ detail: 'shutdown' });
  });
});

describe('a guest that helps', () => {
  it('lets go of PCI devices, and its virtual CPUs come and go', async () => {
    const linux = await linuxGuest();
    guest = await connection.createDomain(
      domainXml({
        name: 'linux',
        memoryMiB: 192,
        ...linux,
        cmdline: LINUX_GUEST_CMDLINE,
        devices: BUSES + PORTS.join(''),
      }).replace('<vcpu>1</vcpu>', "<vcpu current='1'>2</vcpu>"),
    );
    await guest.console().waitFor(LINUX_GUEST_READY, { signal: AbortSignal.timeout(60_000) });
    const before = await inventory();
    const disk = diskXml('vdb', 'virtio', image('pci.img', 7 << 20));
    await guest.attachDevice(disk, LIVE);
    await guest
      .console()
      .write('until [ -e /sys/block/vda/size ]; do usleep 50000; done; echo size=$(cat /sys/block/vda/size)\n');
    await guest.console().waitFor(/size=14336\b/, { signal: AbortSignal.timeout(30_000) });
    await guest.detachDevice(disk, LIVE);
    expect(await inventory()).toEqual(before);
    expect(await guest.xmlDesc()).not.toContain('pci.img');
    // What the guest throws out by itself is gone for everybody.
    await guest.attachDevice(disk, LIVE);
    await guest
      .console()
      .write(
        'until [ -e /sys/block/vda/size ]; do usleep 50000; done; a=$(basename $(readlink -f /sys/block/vda/device/..)); for s in /sys/bus/pci/slots/*; do [ "$(cat $s/address)" = "${a%.*}" ] && echo 0 > $s/power; done; echo ejec\'\'ted\n',
      );
    await guest.console().waitFor(/ejected/, { signal: AbortSignal.timeout(30_000) });
    await until(async () => !(await guest.xmlDesc()).includes('pci.img'));
    await until(async () => JSON.stringify(await inventory()) === JSON.stringify(before));
    expect(events.filter(({ event }) => event === 'device-removed')).toHaveLength(2);
    await guest.setVcpus(2, LIVE);
    await guest.console().write('echo 1 > /sys/devices/system/cpu/cpu1/online; echo cpus=$(nproc)\n');
    await guest.console().waitFor(/cpus=2\b/, { signal: AbortSignal.timeout(30_000) });
    // An emulated guest may take longer than anybody waits for it: then the definition follows.
    const error = await guest.setVcpus(1, LIVE).catch((reason: unknown) => reason);
    if (error !== undefined) expect(error).toMatchObject({ code: ErrorCode.OPERATION_TIMEOUT });
    await until(async () => (await guest.vcpuCount(LIVE)) === 1);
    expect(await ask('query-cpus-fast')).toHaveLength(1);
  });
});
