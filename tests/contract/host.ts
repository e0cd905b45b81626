/** The contract of all that is no domain: storage, secrets, networks, the host itself and its devices. */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import { ErrorCode } from '../../src/index.ts';
import { type ContractTest, expectCode } from './setting.ts';

export function describeHost(contract: ContractTest): void {
  contract('keeps storage pools and volumes', async ({ connection, scratch }) => {
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

  contract('keeps secrets', async ({ connection }) => {
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

  contract('keeps networks', async ({ connection }) => {
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

  contract('knows its host', async ({ connection }) => {
    const { node } = connection;
    const info = await node.nodeInfo();
    expect(info.cpus).toBeGreaterThan(0);
    expect(info.memoryKiB).toBeGreaterThan(100_000);
    expect(await node.hostname()).not.toBe('');
    expect(await node.freeMemory()).toBeGreaterThan(0n);
    expect((await node.cpuMap()).online).toContain(0);
    expect(await node.cpuStats(-1)).toHaveProperty('idle');
    expect(await node.memoryStats(-1)).toHaveProperty('total');
  });

  contract('compares processors', async ({ connection }) => {
    const { node } = connection;
    expect(await node.cpuModelNames('x86_64')).toContain('qemu64');
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

  contract('counts pages', async ({ connection }) => {
    const { node } = connection;
    expect((await node.freePages([4], 0, 1))[0]?.free).toBeGreaterThan(0n);
    await expectCode(node.freePages([17], 0, 1), ErrorCode.OPERATION_FAILED);
    await expectCode(node.freePages([4], 999, 1), ErrorCode.INTERNAL_ERROR);
    await expectCode(node.allocPages([{ sizeKiB: 4, count: 1n }], -1, 1), ErrorCode.OPERATION_UNSUPPORTED);
    await expectCode(node.allocPages([{ sizeKiB: 17, count: 1n }], -1, 1), ErrorCode.OPERATION_FAILED);
  });

  contract('knows the devices of its host', async ({ connection }) => {
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

  contract('knows the interfaces of its host', async ({ connection }) => {
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
}

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
}
