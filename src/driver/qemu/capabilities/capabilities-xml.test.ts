import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostArch } from '../../../host/cpu.ts';
import { formatCpuList } from '../../../xml/element.ts';
import { parseXml } from '../../../xml/parse.ts';
import { featuresOfModel } from '../cpu/cpu-description.ts';
import type { HostProcessorFacts } from '../cpu/host-processor.ts';
import { CapabilitiesCache } from './cache.ts';
import type { QemuCapabilities } from './capabilities.ts';
import { formatCapabilities } from './capabilities-xml.ts';
import { fromKernelFlags, modelVendor } from './capabilities-xml-cpu-models.ts';
import { type CapabilitiesHost, hostElement } from './capabilities-xml-host.ts';
import { readCapabilitiesHost } from './capabilities-xml-host-facts.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** A kvm64 with one feature more. */
const PROCESSOR: HostProcessorFacts = {
  vendor: 'Intel',
  signature: { family: 6, model: 0x55, stepping: 4 },
  features: new Set([...featuresOfModel('kvm64'), 'sse4.1']),
};
const HOST: CapabilitiesHost = {
  arch: 'x86_64',
  uuid: '11111111-2222-3333-4444-555555555555',
  cpu: { vendor: 'GenuineIntel', family: 6, model: 0x55, stepping: 4, microcode: '0x10', flags: [] },
  processor: PROCESSOR,
  physicalAddressBits: 46,
  topology: {
    cpus: [0, 1].map((id) => ({ id, socket: 0, die: 0, core: 0, siblings: [0, 1] })),
    sockets: 1,
    cores: 1,
    threads: 2,
  },
  numaNodes: [],
  pageSizesKiB: [4, 2048],
  memoryKiB: 4096,
  sleepStates: ['freeze', 'mem'],
  iommu: true,
  caches: [{ id: 0, level: 3, type: 'Unified', sizeKiB: 2048, cpus: [0, 1] }],
};

describe('the host', () => {
  it('is one cell where the kernel knows no NUMA', () => {
    const cells = hostElement(HOST).element('topology')?.element('cells');
    expect(cells?.attribute('num')).toBe('1');
    const [cell] = cells?.elements('cell') ?? [];
    expect(cell?.element('memory')?.text).toBe('4096');
    expect(cell?.element('pages')?.text).toBe('1024');
    expect(cell?.element('distances')).toBeUndefined();
    expect(cell?.element('cpus')?.elements('cpu')[1]?.attribute('siblings')).toBe('0-1');
  });

  it('takes huge pages off the memory that has small ones', () => {
    const hugePages = [{ sizeKiB: 2048, total: 1, free: 1 }];
    const numaNodes = [{ id: 0, cpus: [0, 1], memoryKiB: 4096, distances: [10], hugePages }];
    const cell = hostElement({ ...HOST, numaNodes })
      .element('topology')
      ?.element('cells')
      ?.element('cell');
    expect(cell?.elements('pages').map(({ text }) => text)).toEqual(['512', '1']);
    expect(cell?.element('distances')?.element('sibling')?.attribute('value')).toBe('10');
  });

  it('names features as libvirt does and leaves out what the model has', () => {
    const cpu = hostElement(HOST).element('cpu');
    expect(cpu?.element('model')?.text).toBe('kvm64');
    expect(cpu?.elements('feature').map((feature) => feature.attribute('name'))).toEqual(['sse4.1']);
    expect(cpu?.element('microcode')?.attribute('version')).toBe('16');
    expect(cpu?.element('vendor')?.text).toBe('Intel');
  });

  it('tells sleep states, IOMMU and caches', () => {
    const host = hostElement(HOST);
    expect(
      host
        .element('power_management')
        ?.elements()
        .map(({ name }) => name),
    ).toEqual(['suspend_mem']);
    expect(host.element('iommu')?.attribute('support')).toBe('yes');
    expect(host.element('cache')?.element('bank')?.attribute('unit')).toBe('MiB');
  });

  it('has the UUID of the installation where the firmware has none', async () => {
    const machineId = file('machine-id', '0123456789abcdef0123456789abcdef\n');
    const productUuid = file('product_uuid', '00000000-0000-0000-0000-000000000000\n');
    const host = await readCapabilitiesHost({ sys: dir, productUuid, machineId });
    expect(host.uuid).toBe('01234567-89ab-cdef-0123-456789abcdef');
  });

  it('reads shared caches once, and only those that are shared', async () => {
    file('devices/system/cpu/online', '0-1\n');
    for (const cpu of ['cpu0', 'cpu1']) {
      const values = { level: '3', id: '0', type: 'Unified', size: '32M', shared_cpu_list: '0-1' };
      for (const [name, text] of Object.entries(values)) file(`devices/system/cpu/${cpu}/cache/index3/${name}`, text);
      file(`devices/system/cpu/${cpu}/cache/index0/level`, '1');
    }
    const { caches } = await readCapabilitiesHost({ sys: dir });
    expect(caches).toEqual([{ id: 0, level: 3, type: 'Unified', sizeKiB: 32768, cpus: [0, 1] }]);
  });
});

describe('names of processors', () => {
  it('tell who makes what they imitate', () => {
    expect(modelVendor('EPYC-Rome-v2')).toBe('AMD');
    expect(modelVendor('Haswell-noTSX')).toBe('Intel');
    expect(modelVendor('qemu64')).toBe('unknown');
  });

  it('drops what only the kernel calls a feature', () => {
    const known = new Set(['sse4.1', 'avx512vnni', 'tsc-deadline', 'fxsr-opt']);
    const flags = ['sse4_1', 'avx512_vnni', 'tsc_deadline_timer', 'fxsr_opt', 'rep_good'];
    expect(fromKernelFlags(flags, known)).toEqual(['sse4.1', 'avx512vnni', 'tsc-deadline', 'fxsr-opt']);
  });

  it.each([
    [[], ''],
    [[3], '3'],
    [[0, 1, 2, 5], '0-2,5'],
    [[8, 0, 1], '0-1,8'],
  ])('writes %j as %j', (cpus, text) => expect(formatCpuList(cpus)).toBe(text));
});

describe('guests', () => {
  it('are those of installed emulators; each is probed once, two at a time; broken ones are left out', async () => {
    const installed = new Map(['arm', 'aarch64', 'x86_64', 's390x'].map((target) => [target, program(target)]));
    let running = 0;
    let most = 0;
    const probes: string[] = [];
    const cache = fakeCache(async (qemu) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      probes.push(qemu);
      if (qemu.endsWith('s390x')) throw new Error('it is broken');
      return fakeCapabilities(qemu);
    });
    const xml = await formatCapabilities(cache, undefined, {
      roots: { sys: dir, machineId: join(dir, 'none') },
      findEmulator: (target) => installed.get(target),
      readKvm: async () => ({ usable: false, reason: 'absent', detail: '' }),
    });
    const guests = parseXml(xml)
      .root.elements('guest')
      .map((guest) => guest.element('arch'));
    expect(guests.map((arch) => arch?.attribute('name'))).toEqual(['armv6l', 'armv7l', 'aarch64', 'x86_64']);
    expect(probes.toSorted()).toEqual([...installed.values()].toSorted());
    expect(most).toBe(2);
    expect(guests.every((arch) => arch?.elements('domain').length === 1)).toBe(true);
    const machines = guests
      .at(-1)
      ?.elements('machine')
      .map((machine) => [machine.attribute('canonical'), machine.text]);
    expect(machines).toEqual([
      ['board-2', 'board'],
      [undefined, 'board-2'],
      [undefined, 'board-1'],
    ]);
  });

  it('offers KVM for what the host runs itself, and only where KVM works', async () => {
    const target = hostArch();
    const other = target === 'arm' ? 'aarch64' : 'arm';
    const installed = new Map([target, other].map((name) => [name, program(name)]));
    const xml = await formatCapabilities(
      fakeCache(async (qemu) => fakeCapabilities(qemu)),
      undefined,
      {
        roots: { sys: dir },
        findEmulator: (name) => installed.get(name),
        readKvm: async () => ({ usable: true, timeMs: 1 }),
      },
    );
    const withKvm = parseXml(xml)
      .root.elements('guest')
      .filter((guest) => guest.element('arch')?.elements('domain').length === 2)
      .map((guest) => guest.element('arch')?.element('emulator')?.text);
    expect(new Set(withKvm)).toEqual(new Set([installed.get(target)]));
  });

  it('stops with its signal', async () => {
    const stop = AbortSignal.abort(new Error('enough'));
    const never = fakeCache(() => new Promise(() => {}));
    await expect(
      formatCapabilities(never, stop, { roots: { sys: dir }, findEmulator: () => program('any') }),
    ).rejects.toThrow('enough');
  });
});

function fakeCache(probe: (qemu: string) => Promise<QemuCapabilities>): CapabilitiesCache {
  const prober = {
    probeCapabilities: ({ qemu }: { qemu: string }) => probe(qemu),
    probeAccelerator: async (known: QemuCapabilities) => known,
  };
  return new CapabilitiesCache({ dir: null, prober });
}

function fakeCapabilities(binary: string): QemuCapabilities {
  return {
    format: 1,
    binary,
    version: { major: 7, minor: 2, micro: 0 },
    package: '',
    arch: 'any',
    kvm: { present: true, enabled: false },
    machines: [
      { name: 'board-1', cpuMax: 1 },
      { name: 'board-2', alias: 'board', isDefault: true, cpuMax: 2 },
      { name: 'none', cpuMax: 1 },
    ],
    accelerators: { tcg: { cpus: [] } },
    types: [],
    properties: {},
    options: {},
    migrationCapabilities: [],
    tpmModels: [],
    tpmTypes: [],
    commands: [],
    events: [],
    features: [],
  };
}

function program(target: string): string {
  const path = file(`bin/qemu-system-${target}`, '#!/bin/false\n');
  chmodSync(path, 0o755);
  return path;
}

function file(name: string, text: string): string {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
