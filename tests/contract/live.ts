/** The contract of changes and figures of domains: devices, memory, virtual CPUs, statistics, the monitor. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { DomainState, ErrorCode } from '../../src/index.ts';
import { pollUntil } from '../support/poll.ts';
import { type ContractTest, expectCode } from './setting.ts';

export function describeChanges(contract: ContractTest): void {
  contract('plugs and unplugs a USB device', async ({ started }) => {
    const domain = await started('halt', { devices: "<controller type='usb' model='qemu-xhci'/>" });
    const tablet = "<input type='tablet' bus='usb'/>";
    const before = count(await domain.xmlDesc(), "type='tablet'");
    await domain.attachDevice(tablet, { live: true });
    const xml = await domain.xmlDesc();
    expect(count(xml, "type='tablet'")).toBe(before + 1);
    const alias = [...xml.matchAll(/<input type='tablet'[^]*?<alias name='([^']+)'/g)].at(-1)?.[1] ?? '';
    await domain.detachDeviceAlias(alias, { live: true });
    await pollUntil(async () => count(await domain.xmlDesc(), "type='tablet'") === before, 'the tablet is still there');
  });

  contract('plugs a disk, and tells its size and traffic', async ({ scratch, started }) => {
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

  contract('changes the medium of a drive', async ({ scratch, started }) => {
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

  contract('changes the virtual CPUs of the next start', async ({ connection, xmlOf }) => {
    const domain = await connection.defineDomain(await xmlOf('halt', { memoryMiB: 64, vcpus: 1 }));
    await domain.setVcpus(4, { config: true, maximum: true });
    await domain.setVcpus(2, { config: true });
    expect(await domain.vcpuCount({ config: true, maximum: true })).toBe(4);
    expect(await domain.vcpuCount({ config: true })).toBe(2);
    expect(await domain.xmlDesc({ inactive: true })).toContain("<vcpu placement='static' current='2'>4</vcpu>");
  });

  contract('changes the next start', async ({ connection, xmlOf }) => {
    const domain = await connection.defineDomain(await xmlOf('halt', { memoryMiB: 64 }));
    await domain.setMemory(128 * 1024, { config: true, maximum: true });
    await domain.setMemoryParameters({ hard_limit: 1_048_576n }, { config: true });
    expect(Number((await domain.memoryParameters({ config: true }))['hard_limit'])).toBe(1_048_576);
    await domain.setMetadata({ kind: 'title', value: 'A short title' }, { config: true });
    expect(await domain.metadata('title', undefined, { config: true })).toBe('A short title');
    await expectCode(domain.metadata('description', undefined, { config: true }), ErrorCode.NO_DOMAIN_METADATA);
    const element = { kind: 'element', key: 'farm', namespaceUri: 'http://farm.example/1' } as const;
    await domain.setMetadata({ ...element, value: "<rack n='7'/>" }, { config: true });
    expect(await domain.metadata('element', 'http://farm.example/1', { config: true })).toMatch(/<rack n=['"]7['"]\/>/);
    const xml = await domain.xmlDesc({ inactive: true });
    expect(xml).toContain("<memory unit='KiB'>131072</memory>");
  });

  contract('measures a running guest', async ({ started }) => {
    const domain = await started('halt');
    expect((await domain.memoryStats()).rss).toBeGreaterThan(0n);
    expect(Number((await domain.stats())['state.state'])).toBe(DomainState.RUNNING);
    await pollUntil(async () => (await domain.info()).cpuTimeNs > 0n, 'it has used no CPU time');
  });

  contract('measures virtual CPUs and disks', async ({ started }) => {
    const domain = await started('halt', { vcpus: 2 });
    const vcpus = await domain.vcpus();
    expect(vcpus.map(({ number, state }) => ({ number, state }))).toEqual([
      { number: 0, state: 1 },
      { number: 1, state: 1 },
    ]);
    const stats = await domain.stats();
    expect(Number(stats['vcpu.current'])).toBe(2);
    expect(Number(stats['block.count'])).toBe(1);
    expect(await domain.diskErrors()).toEqual([]);
  });

  contract('counts the CPU time of a guest', async ({ started }) => {
    const domain = await started('halt');
    expect((await domain.cpuStats()).total).toHaveProperty('cpu_time');
  });

  contract('pins virtual CPUs', async ({ started }) => {
    const domain = await started('halt');
    await domain.pinVcpu(0, [0], { live: true });
    expect((await domain.vcpuPins())[0]).toEqual([0]);
    await domain.pinEmulator([0], { live: true });
    expect(await domain.emulatorPin()).toEqual([0]);
  });

  contract('talks with the monitor', async ({ started }) => {
    const domain = await started('halt');
    const reply: unknown = JSON.parse(await domain.monitorText('{"execute":"query-status"}'));
    expect(reply).toMatchObject({ return: { status: 'running' } });
    expect(await domain.monitorText('info status', { hmp: true })).toContain('running');
    await domain.sendKey([28], { holdMs: 10 });
    await domain.injectNmi();
  });
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
