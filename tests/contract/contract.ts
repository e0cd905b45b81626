/**
 * The driver contract as tests: what every connection with QEMU guests must do, whatever is behind it (this process, our daemon,
 * libvirtd). Each difference of one of them is a skip with its reason. Guests are boot sectors.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type Connection,
  type Domain,
  type DomainEvent,
  DomainState,
  ErrorCode,
  StateReason,
  VirtError,
} from '../../src/index.ts';
import { domainXml, type TestDomain } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { pollUntil } from '../support/poll.ts';

export interface ContractSubject {
  readonly name: string;
  /** Called once; the suite closes what it returns. */
  readonly open: () => Promise<Connection>;
  /** Tests that this subject cannot pass, by title, with the reason. */
  readonly skips?: Readonly<Record<string, string>>;
}

type Guest = Parameters<typeof bootSectorImage>[0];

/** Waits for guests are bounded by the test's own time limit; this one names what was waited for. */
const PATIENCE_MS = 30_000;
const UUID = '7d9f3c52-3b5a-4a52-9d1c-0f4e5a6b7c8d';

export function describeContract(subject: ContractSubject): void {
  const used = new Set<string>();
  const contract = (title: string, body: () => Promise<void>): void => {
    const reason = subject.skips?.[title];
    if (reason !== undefined) used.add(title);
    it.skipIf(reason !== undefined)(reason === undefined ? title : `${title} [${reason}]`, body);
  };

  describe(`contract: ${subject.name}`, () => {
    let connection: Connection;
    let scratch: string;
    let counter = 0;
    const made = new Set<string>();

    beforeAll(async () => {
      scratch = mkdtempSync(join(tmpdir(), 'contract-'));
      connection = await subject.open();
    });
    afterEach(removeAll);
    afterAll(async () => {
      await connection?.close();
      rmSync(scratch, { recursive: true, force: true });
    });

    const xmlOf = async (guest: Guest, overrides: TestDomain = {}): Promise<string> => {
      const name = overrides.name ?? `contract-${process.pid}-${++counter}`;
      made.add(name);
      return domainXml({ disks: [{ path: await bootSectorImage(guest), readonly: true }], ...overrides, name });
    };

    /** Whatever a test leaves must not disturb the next. */
    async function removeAll(): Promise<void> {
      for (const domain of await connection.listAllDomains()) {
        if (!made.has(domain.name)) continue;
        if (await domain.isActive().catch(() => false)) await domain.destroy().catch(() => undefined);
        await domain.undefine({ managedSave: true, nvram: true }).catch(() => undefined);
      }
      made.clear();
    }

    const started = async (guest: Guest, overrides: TestDomain = {}, options = {}): Promise<Domain> =>
      await connection.createDomain(await xmlOf(guest, overrides), options);

    contract('says what it is', async () => {
      expect(connection.type).toBe('QEMU');
      expect(await connection.version()).toBeGreaterThan(4_000_000);
      expect(await connection.capabilities()).toMatch(/<capabilities>[^]*<guest>/);
      expect(await connection.domainCapabilities({ arch: 'x86_64', virttype: 'qemu' })).toMatch(/<domainCapabilities>/);
    });

    contract('keeps definitions', async () => {
      const xml = await xmlOf('halt', { uuid: UUID });
      const domain = await connection.defineDomain(xml);
      expect(domain.uuid).toBe(UUID);
      expect((await connection.lookupDomainByName(domain.name)).uuid).toBe(UUID);
      expect((await connection.lookupDomainByUUID(UUID)).name).toBe(domain.name);
      expect(await domain.isPersistent()).toBe(true);
      expect(await domain.isActive()).toBe(false);
      expect(await domain.id()).toBe(-1);
      expect(await domain.xmlDesc()).toContain(`<name>${domain.name}</name>`);
      const names = async (filter: object): Promise<string[]> =>
        (await connection.listAllDomains(filter)).map(({ name }) => name);
      expect(await names({ active: false })).toContain(domain.name);
      expect(await names({ active: true })).not.toContain(domain.name);
      await domain.undefine();
      await expectCode(connection.lookupDomainByUUID(UUID), ErrorCode.NO_DOMAIN);
    });

    contract('redefines under the same UUID and refuses a namesake', async () => {
      const name = `contract-${process.pid}-twin`;
      const domain = await connection.defineDomain(await xmlOf('halt', { name, uuid: UUID, memoryMiB: 64 }));
      await connection.defineDomain(await xmlOf('halt', { name, uuid: UUID, memoryMiB: 80 }));
      expect((await domain.info()).maxMemoryKiB).toBe(80 * 1024);
      const other = UUID.replace('7d9f', '7d90');
      await expectCode(connection.defineDomain(await xmlOf('halt', { name, uuid: other })), ErrorCode.OPERATION_FAILED);
    });

    contract('refuses bad XML', async () => {
      await expectCode(connection.defineDomain('<domain'), ErrorCode.XML_DETAIL);
      await expect(connection.defineDomain("<domain type='qemu'><name>x</name></domain>")).rejects.toBeInstanceOf(
        VirtError,
      );
      await expectCode(connection.lookupDomainByName('there is no such domain'), ErrorCode.NO_DOMAIN);
    });

    contract('marks for autostart and renames', async () => {
      const domain = await connection.defineDomain(await xmlOf('halt'));
      expect(await domain.autostart()).toBe(false);
      await domain.setAutostart(true);
      expect(await domain.autostart()).toBe(true);
      const name = `${domain.name}-renamed`;
      made.add(name);
      await domain.setAutostart(false);
      const renamed = await domain.rename(name);
      expect((await connection.lookupDomainByUUID(domain.uuid)).name).toBe(name);
      expect(await renamed.xmlDesc()).toContain(`<name>${name}</name>`);
    });

    contract('starts paused, resumes, pauses, ends', async () => {
      const domain = await started('halt', {}, { paused: true });
      expect(await domain.id()).toBeGreaterThan(0);
      expect(await domain.isPersistent()).toBe(false);
      expect((await domain.state()).state).toBe(DomainState.PAUSED);
      await domain.resume();
      expect((await domain.state()).state).toBe(DomainState.RUNNING);
      await domain.suspend();
      expect(await domain.state()).toEqual({ state: DomainState.PAUSED, reason: StateReason.paused.USER });
      await domain.destroy();
      await expectCode(connection.lookupDomainByUUID(domain.uuid), ErrorCode.NO_DOMAIN);
    });

    contract('tells lifecycle events in order', async () => {
      const abort = new AbortController();
      const seen: string[] = [];
      const done = collectLifecycle(connection.events({ signal: abort.signal }), seen);
      const domain = await connection.defineDomain(await xmlOf('halt'));
      await domain.create();
      await domain.suspend();
      await domain.resume();
      await domain.destroy();
      await domain.undefine();
      await pollUntil(() => seen.includes('undefined removed'), 'no event tells that it is undefined');
      abort.abort();
      await done;
      // libvirtd tells of steps in between as well: "resumed" before "started", "shutdown" before "stopped".
      const expected = [
        'defined added',
        'started booted',
        'suspended paused',
        'stopped destroyed',
        'undefined removed',
      ];
      expect(seen.filter((event) => expected.includes(event))).toEqual(expected);
      expect(seen.indexOf('resumed unpaused', seen.indexOf('suspended paused'))).toBeGreaterThan(0);
    });

    contract('notices that a guest powers itself off', async () => {
      const domain = await connection.defineDomain(await xmlOf('poweroff'));
      const seen: string[] = [];
      const abort = new AbortController();
      const done = collectLifecycle(connection.events({ signal: abort.signal }), seen);
      await domain.create();
      await pollUntil(() => seen.includes('stopped shutdown'), 'no event tells that it has shut down');
      abort.abort();
      await done;
      expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SHUTDOWN });
    });

    contract('presses the power button', async () => {
      const domain = await started('powerbutton');
      await domain.console().waitFor(`${greetingOf('powerbutton')}\r\n`);
      await domain.shutdown({ signal: AbortSignal.timeout(PATIENCE_MS) });
      await pollUntil(async () => !(await domain.isActive().catch(() => false)), 'it is still active');
    });

    contract('refuses what the state forbids', async () => {
      const domain = await connection.defineDomain(await xmlOf('halt'));
      await expectCode(domain.suspend(), ErrorCode.OPERATION_INVALID);
      await expectCode(domain.destroy(), ErrorCode.OPERATION_INVALID);
      await domain.create();
      await expectCode(domain.create(), ErrorCode.OPERATION_INVALID);
      await expectCode(domain.rename(`${domain.name}-x`), ErrorCode.OPERATION_INVALID);
    });

    contract('opens the console both ways', async () => {
      const domain = await started('echo', {}, { paused: true });
      const console = domain.console();
      const greeting = console.waitFor(greetingOf('echo'));
      await domain.resume();
      await greeting;
      const heard = console.waitFor('ping pong', { replay: false });
      await console.write('ping pong');
      expect(await heard).toContain('ping pong');
    });

    contract('plugs and unplugs a USB device', async () => {
      const domain = await started('halt', { devices: "<controller type='usb' model='qemu-xhci'/>" });
      const tablet = "<input type='tablet' bus='usb'/>";
      const before = count(await domain.xmlDesc(), "type='tablet'");
      await domain.attachDevice(tablet, { live: true });
      const xml = await domain.xmlDesc();
      expect(count(xml, "type='tablet'")).toBe(before + 1);
      const alias = [...xml.matchAll(/<input type='tablet'[^]*?<alias name='([^']+)'/g)].at(-1)?.[1] ?? '';
      await domain.detachDeviceAlias(alias, { live: true });
      await pollUntil(
        async () => count(await domain.xmlDesc(), "type='tablet'") === before,
        'the tablet is still there',
      );
    });

    contract('plugs a disk, and tells its size and traffic', async () => {
      const image = join(scratch, 'plugged.img');
      writeFileSync(image, Buffer.alloc(1024 * 1024, 7), { mode: 0o666 });
      const domain = await started('halt', {
        devices:
          "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='9' model='pcie-root-port'/>",
      });
      const disk = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='vdb' bus='virtio'/></disk>`;
      await domain.attachDevice(disk, { live: true });
      expect(await domain.xmlDesc()).toContain(image);
      expect(await domain.blockInfo('vdb')).toMatchObject({ capacity: 1024n * 1024n });
      expect(await domain.blockStats('vdb')).toHaveProperty('rd_bytes');
      await domain.setBlockIoTune('vdb', { total_bytes_sec: 1_048_576n }, { live: true });
      expect(Number((await domain.blockIoTune('vdb', { live: true }))['total_bytes_sec'])).toBe(1_048_576);
    });

    contract('changes the medium of a drive', async () => {
      const image = join(scratch, 'medium.iso');
      writeFileSync(image, Buffer.alloc(65_536), { mode: 0o666 });
      const drive = (source: string): string =>
        `<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>${source}<target dev='sdc' bus='sata'/><readonly/></disk>`;
      const domain = await started('halt', { devices: drive('') });
      await domain.updateDevice(drive(`<source file='${image}'/>`), { live: true });
      expect(await domain.xmlDesc()).toContain(image);
      await domain.updateDevice(drive(''), { live: true, force: true });
      expect(await domain.xmlDesc()).not.toContain(image);
    });

    contract('changes the next start', async () => {
      const domain = await connection.defineDomain(await xmlOf('halt', { memoryMiB: 64, vcpus: 1 }));
      await domain.setMemory(128 * 1024, { config: true, maximum: true });
      await domain.setVcpus(4, { config: true, maximum: true });
      await domain.setVcpus(2, { config: true });
      expect(await domain.vcpuCount({ config: true, maximum: true })).toBe(4);
      expect(await domain.vcpuCount({ config: true })).toBe(2);
      await domain.setMemoryParameters({ hard_limit: 1_048_576n }, { config: true });
      expect(Number((await domain.memoryParameters({ config: true }))['hard_limit'])).toBe(1_048_576);
      await domain.setMetadata({ kind: 'title', value: 'A short title' }, { config: true });
      expect(await domain.metadata('title', undefined, { config: true })).toBe('A short title');
      await expectCode(domain.metadata('description', undefined, { config: true }), ErrorCode.NO_DOMAIN_METADATA);
      const element = { kind: 'element', key: 'farm', namespaceUri: 'http://farm.example/1' } as const;
      await domain.setMetadata({ ...element, value: "<rack n='7'/>" }, { config: true });
      expect(await domain.metadata('element', 'http://farm.example/1', { config: true })).toMatch(
        /<rack n=['"]7['"]\/>/,
      );
      const xml = await domain.xmlDesc({ inactive: true });
      expect(xml).toContain("<vcpu placement='static' current='2'>4</vcpu>");
      expect(xml).toContain("<memory unit='KiB'>131072</memory>");
    });

    contract('measures a running guest', async () => {
      const domain = await started('halt', { vcpus: 2 });
      const vcpus = await domain.vcpus();
      expect(vcpus.map(({ number, state }) => ({ number, state }))).toEqual([
        { number: 0, state: 1 },
        { number: 1, state: 1 },
      ]);
      expect((await domain.memoryStats()).rss).toBeGreaterThan(0n);
      const stats = await domain.stats();
      expect(Number(stats['state.state'])).toBe(DomainState.RUNNING);
      expect(Number(stats['vcpu.current'])).toBe(2);
      expect(Number(stats['block.count'])).toBe(1);
      expect(await domain.diskErrors()).toEqual([]);
      expect((await domain.info()).cpuTimeNs).toBeGreaterThan(0n);
    });

    contract('counts the CPU time of a guest', async () => {
      const domain = await started('halt');
      expect((await domain.cpuStats()).total).toHaveProperty('cpu_time');
    });

    contract('pins virtual CPUs', async () => {
      const domain = await started('halt');
      await domain.pinVcpu(0, [0], { live: true });
      expect((await domain.vcpuPins())[0]).toEqual([0]);
      await domain.pinEmulator([0], { live: true });
      expect(await domain.emulatorPin()).toEqual([0]);
    });

    contract('saves to a file and restores', async () => {
      const path = join(scratch, 'saved.img');
      const domain = await started('echo');
      await domain.save(path);
      expect(await domain.isActive().catch(() => false)).toBe(false);
      expect(await connection.savedXml(path)).toContain(`<name>${domain.name}</name>`);
      const restored = await connection.restore(path);
      expect(restored.uuid).toBe(domain.uuid);
      expect(await restored.state()).toEqual({ state: DomainState.RUNNING, reason: StateReason.running.RESTORED });
    });

    contract('keeps a managed save for the next start', async () => {
      const domain = await connection.defineDomain(await xmlOf('echo'));
      await domain.create();
      await domain.managedSave();
      expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SAVED });
      expect(await domain.hasManagedSave()).toBe(true);
      await expectCode(domain.undefine(), ErrorCode.OPERATION_INVALID);
      await domain.create();
      expect((await domain.state()).reason).toBe(StateReason.running.RESTORED);
      expect(await domain.hasManagedSave()).toBe(false);
    });

    contract('talks with the monitor', async () => {
      const domain = await started('halt');
      const reply: unknown = JSON.parse(await domain.monitorText('{"execute":"query-status"}'));
      expect(reply).toMatchObject({ return: { status: 'running' } });
      expect(await domain.monitorText('info status', { hmp: true })).toContain('running');
      await domain.sendKey([28], { holdMs: 10 });
      await domain.injectNmi();
    });

    contract('keeps storage pools and volumes', async () => {
      const { storage } = connection;
      const path = join(scratch, 'pool');
      const name = `contract-${process.pid}`;
      const events = storage.events()[Symbol.asyncIterator]();
      const { uuid } = await storage.define(
        `<pool type='dir'><name>${name}</name><target><path>${path}</path></target></pool>`,
      );
      expect((await events.next()).value).toMatchObject({ kind: 'lifecycle', type: 'defined', pool: { name, uuid } });
      await storage.build(uuid);
      await storage.create(uuid);
      expect(await storage.info(uuid)).toMatchObject({ state: 'running' });
      expect(await storage.lookupByTargetPath(path)).toEqual({ name, uuid });
      const xml = '<volume><name>v</name><capacity>1048576</capacity><allocation>0</allocation></volume>';
      const volume = await storage.createVolume(uuid, xml);
      expect(volume).toEqual({ pool: name, name: 'v', key: join(path, 'v') });
      await expectCode(storage.createVolume(uuid, xml), ErrorCode.STORAGE_VOL_EXIST);
      await pipeline(Readable.from([Buffer.from('hello')]), await storage.uploadVolume(volume, { offset: 4096n }));
      const whole = Buffer.concat(await (await storage.downloadVolume(volume)).toArray());
      expect([whole.length, whole.toString('latin1', 4096, 4101)]).toEqual([1_048_576, 'hello']);
      const pieces: unknown[] = await (await storage.downloadVolume(volume, { sparse: true })).toArray();
      expect(pieces[0]).toEqual({ holeBytes: 4096n });
      // No copy of the sparse one: libvirtd 9.0 never ends it.
      const copy = await storage.createVolume(uuid, xml.replace('<name>v', '<name>w'));
      await storage.resizeVolume(copy, 2_097_152n);
      expect(await storage.volumeInfo(copy)).toMatchObject({ type: 'file', capacity: 2_097_152n });
      expect((await storage.listVolumes(uuid)).map((one) => one.name).toSorted()).toEqual(['v', 'w']);
      await storage.deleteVolume(copy);
      await expectCode(storage.volumeInfo(copy), ErrorCode.NO_STORAGE_VOL);
      await expectCode(storage.undefine(uuid), ErrorCode.OPERATION_INVALID);
      await storage.deleteVolume(volume);
      await storage.destroy(uuid);
      await storage.delete(uuid);
      await storage.undefine(uuid);
      await expectCode(storage.lookupByName(name), ErrorCode.NO_STORAGE_POOL);
    });

    contract('keeps secrets', async () => {
      const { secrets } = connection;
      const xml = (isPrivate: string): string =>
        `<secret ephemeral='yes' private='${isPrivate}'><usage type='ceph'><name>contract-${process.pid}-${isPrivate}</name></usage></secret>`;
      const open = await secrets.define(xml('no'));
      const closed = await secrets.define(xml('yes'));
      try {
        await secrets.setValue(open.uuid, Buffer.from('s3cret'));
        await secrets.setValue(closed.uuid, Buffer.from('s3cret'));
        expect(Buffer.from(await secrets.value(open.uuid)).toString()).toBe('s3cret');
        await expectCode(secrets.value(closed.uuid), ErrorCode.INVALID_SECRET);
        expect((await secrets.lookupByUsage('ceph', open.usageId)).uuid).toBe(open.uuid);
        expect((await secrets.list()).map(({ uuid }) => uuid)).toContain(closed.uuid);
        expect(await secrets.xmlDesc(open.uuid)).toContain("private='no'");
      } finally {
        await secrets.undefine(open.uuid);
        await secrets.undefine(closed.uuid);
      }
      await expectCode(secrets.lookupByUuid(open.uuid), ErrorCode.NO_SECRET);
    });

    contract('keeps networks', async () => {
      const { networks } = connection;
      const name = `contract-${process.pid}`;
      const xml = `<network><name>${name}</name><bridge name='ctr${process.pid % 100_000}'/><ip address='10.254.7.1' netmask='255.255.255.0'><dhcp><range start='10.254.7.2' end='10.254.7.9'/></dhcp></ip></network>`;
      const stop = new AbortController();
      const events = networks.events({ signal: stop.signal })[Symbol.asyncIterator]();
      const { uuid } = await networks.define(xml);
      try {
        expect(await events.next()).toMatchObject({
          value: { kind: 'lifecycle', network: { name, uuid }, type: 'defined' },
        });
        expect(await networks.lookupByName(name)).toEqual({ name, uuid });
        expect(await networks.list({ active: false, persistent: true })).toContainEqual({ name, uuid });
        expect([
          await networks.isActive(uuid),
          await networks.isPersistent(uuid),
          await networks.autostart(uuid),
        ]).toEqual([false, true, false]);
        await networks.setAutostart(uuid, true);
        expect(await networks.list({ autostart: true })).toContainEqual({ name, uuid });
        expect(await networks.bridgeName(uuid)).toMatch(/^ctr/);
        const host = "<host mac='52:54:00:00:00:07' ip='10.254.7.5'/>";
        const change = { section: 'ip-dhcp-host', parentIndex: -1, config: true } as const;
        await networks.update(uuid, { ...change, command: 'add-last', xml: host });
        expect(await networks.xmlDesc(uuid)).toContain(host);
        await expectCode(
          networks.update(uuid, { ...change, command: 'add-last', xml: host }),
          ErrorCode.OPERATION_INVALID,
        );
        await expectCode(
          networks.update(uuid, { ...change, command: 'delete', xml: host, live: true }),
          ErrorCode.OPERATION_INVALID,
        );
        await expectCode(networks.destroy(uuid), ErrorCode.OPERATION_INVALID);
        await expectCode(networks.listPorts(uuid), ErrorCode.OPERATION_INVALID);
        expect(await networks.dhcpLeases(uuid)).toEqual([]);
        await expectCode(networks.define(`<network><name>${name}</name></network>`), ErrorCode.OPERATION_FAILED);
      } finally {
        stop.abort();
        await networks.undefine(uuid);
      }
      await expectCode(networks.lookupByUuid(uuid), ErrorCode.NO_NETWORK);
    });

    contract('knows its host', async () => {
      const { node } = connection;
      const info = await node.nodeInfo();
      expect(info.cpus).toBeGreaterThan(0);
      expect(info.memoryKiB).toBeGreaterThan(100_000);
      expect(await node.hostname()).not.toBe('');
      expect(await node.freeMemory()).toBeGreaterThan(0n);
      expect((await node.cpuMap()).online).toContain(0);
      expect(await node.cpuStats(-1)).toHaveProperty('idle');
      expect(await node.memoryStats(-1)).toHaveProperty('total');
      expect(await node.cpuModelNames('x86_64')).toContain('qemu64');
    });

    contract('compares processors', async () => {
      const { node } = connection;
      const cpu = (model: string): string => `<cpu><arch>x86_64</arch><model>${model}</model></cpu>`;
      expect(await node.compareCpu("<cpu mode='host-passthrough'/>")).toBe('superset');
      await expectCode(node.compareCpu(cpu('Nonsense')), ErrorCode.INTERNAL_ERROR);
      const foreign = '<cpu><arch>aarch64</arch><model>max</model></cpu>';
      expect(await node.compareCpu(foreign)).toBe('incompatible');
      await expectCode(node.compareCpu(foreign, { failIncompatible: true }), ErrorCode.CPU_INCOMPATIBLE);
      expect(await node.baselineCpu([cpu('Haswell'), cpu('Westmere')])).toContain('>Westmere</model>');
      expect(await node.baselineCpu([cpu('kvm64')], { expandFeatures: true })).toContain("name='sse2'");
      const query = { virttype: 'qemu' };
      expect(await node.compareHypervisorCpu(query, cpu('qemu64'))).toMatch(/^(superset|identical|incompatible)$/);
      expect(await node.baselineHypervisorCpu(query, [cpu('kvm64')])).toContain("'forbid'>kvm64</model>");
    });

    contract('counts pages', async () => {
      const { node } = connection;
      expect((await node.freePages([4], 0, 1))[0]?.free).toBeGreaterThan(0n);
      await expectCode(node.freePages([17], 0, 1), ErrorCode.OPERATION_FAILED);
      await expectCode(node.freePages([4], 999, 1), ErrorCode.INTERNAL_ERROR);
      await expectCode(node.allocPages([{ sizeKiB: 4, count: 1n }], -1, 1), ErrorCode.OPERATION_UNSUPPORTED);
      await expectCode(node.allocPages([{ sizeKiB: 17, count: 1n }], -1, 1), ErrorCode.OPERATION_FAILED);
    });

    contract('knows the devices of its host', async () => {
      const { nodeDevices } = connection;
      const listening = nodeDevices.events();
      const all = (await nodeDevices.list()).map(({ name }) => name);
      expect(all).toContain('computer');
      const loopback = 'net_lo_00_00_00_00_00_00';
      expect((await nodeDevices.list({ capabilities: ['net'] })).map(({ name }) => name)).toContain(loopback);
      expect(await nodeDevices.list({ active: false })).toEqual([]);
      expect((await nodeDevices.lookupByName(loopback)).name).toBe(loopback);
      expect(await nodeDevices.parent(loopback)).toBe('computer');
      expect(await nodeDevices.parent('computer')).toBeUndefined();
      expect(await nodeDevices.capabilities(loopback)).toEqual(['net']);
      expect(await nodeDevices.xmlDesc(loopback)).toContain('<interface>lo</interface>');
      expect([await nodeDevices.isActive(loopback), await nodeDevices.isPersistent(loopback)]).toEqual([true, false]);
      await expectCode(nodeDevices.lookupByName('nope'), ErrorCode.NO_NODE_DEVICE);
      await expectCode(nodeDevices.reset(loopback), ErrorCode.INVALID_ARG);
      await listening[Symbol.asyncIterator]().return?.();
    });

    contract('knows the interfaces of its host', async () => {
      const { interfaces } = connection;
      const all = await interfaces.list();
      const active = await interfaces.list({ active: true });
      const inactive = await interfaces.list({ active: false });
      expect([...active, ...inactive].map(({ name }) => name).toSorted(byName)).toEqual(
        all.map(({ name }) => name).toSorted(byName),
      );
      expect((await interfaces.lookupByName('lo')).mac).toBe('00:00:00:00:00:00');
      expect(await interfaces.xmlDesc('lo')).toContain("<interface type='ethernet' name='lo'>");
      expect(await interfaces.isActive('lo')).toBe(inactive.every(({ name }) => name !== 'lo'));
      await expectCode(interfaces.lookupByName('nope'), ErrorCode.NO_INTERFACE);
      await expectCode(interfaces.lookupByMac('02:00:00:00:00:99'), ErrorCode.NO_INTERFACE);
    });

    it('skips only what there is', () => {
      expect(Object.keys(subject.skips ?? {}).filter((title) => !used.has(title))).toEqual([]);
    });
  });
}

async function collectLifecycle(events: AsyncIterable<DomainEvent>, seen: string[]): Promise<void> {
  try {
    for await (const event of events) if (event.event === 'lifecycle') seen.push(`${event.type} ${event.detail}`);
  } catch (error) {
    if (!(error instanceof Error && error.name === 'AbortError')) throw error;
  }
}

async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await promise.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VirtError);
  expect(error).toMatchObject({ code });
}

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
