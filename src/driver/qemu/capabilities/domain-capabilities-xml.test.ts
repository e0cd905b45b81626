import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../core/errors.ts';
import type { FirmwareDescriptor } from '../../../host/firmware.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { parseXml } from '../../../xml/parse.ts';
import { hostModelOf } from '../cpu/host-model.ts';
import { CapabilitiesCache } from './cache.ts';
import type { QemuCapabilities } from './capabilities.ts';
import {
  type DomainCapabilitiesRequest,
  type DomainCapabilitiesSources,
  formatDomainCapabilities,
} from './domain-capabilities-xml.ts';
import { type DomainCapabilitiesInput, domainCapabilitiesElement } from './domain-capabilities-xml-document.ts';

const CAPABILITIES: QemuCapabilities = {
  format: 1,
  binary: '/usr/bin/qemu-system-x86_64',
  version: { major: 8, minor: 0, micro: 0 },
  package: '',
  arch: 'x86_64',
  kvm: { present: true, enabled: false },
  machines: [
    { name: 'pc-i440fx-8.0', alias: 'pc', cpuMax: 255 },
    { name: 'pc-q35-8.0', alias: 'q35', isDefault: true, cpuMax: 288 },
  ],
  accelerators: {
    tcg: {
      cpus: [
        { name: 'EPYC', typename: 'EPYC-x86_64-cpu', unavailableFeatures: ['sha-ni', 'fxsr-opt'], aliasOf: 'EPYC-v1' },
        { name: 'kvm64', typename: 'kvm64-x86_64-cpu', unavailableFeatures: [] },
        { name: 'max', typename: 'max-x86_64-cpu', unavailableFeatures: [] },
      ],
      hostModel: {
        name: 'max',
        props: { vendor: 'AuthenticAMD', family: 15, model: 1, avx: true, sse: true, 'lahf-lm': true, kvmclock: true },
      },
    },
  },
  types: [
    'virtio-blk-pci',
    'virtio-blk-pci-transitional',
    'iothread',
    'VGA',
    'virtio-rng-pci',
    'rng-random',
    'vmgenid',
  ],
  properties: {},
  options: { 'run-with': ['async-teardown'] },
  migrationCapabilities: [],
  tpmModels: ['tpm-tis'],
  tpmTypes: ['emulator'],
  commands: [],
  events: [],
  features: ['vnc'],
};

const FIRMWARE: FirmwareDescriptor = {
  source: '/usr/share/qemu/firmware/60-uefi.json',
  description: '',
  interfaceTypes: ['uefi'],
  mapping: { device: 'flash', mode: 'stateless', executable: { path: '/firmware/code.fd', format: 'raw' } },
  targets: [{ architecture: 'x86_64', machines: ['pc-q35-*'] }],
  features: ['requires-smm'],
};

const INPUT: DomainCapabilitiesInput = {
  capabilities: CAPABILITIES,
  accelerator: 'tcg',
  arch: 'x86_64',
  machine: { name: 'pc-q35-8.0', cpuMax: 288 },
  host: { vfio: false, swtpm: true, passt: false, firmware: [FIRMWARE] },
};

describe('the document', () => {
  const at = (input: Partial<DomainCapabilitiesInput>, ...path: string[]): XmlElement | undefined =>
    path.reduce<XmlElement | undefined>(
      (element, name) => element?.element(name),
      domainCapabilitiesElement({ ...INPUT, ...input }),
    );
  const list = (parent: XmlElement | undefined, name: string): string[] | undefined =>
    parent
      ?.elements('enum')
      .find((child) => child.attribute('name') === name)
      ?.elements('value')
      .map(({ text }) => text);
  const mode = (name: string, input: Partial<DomainCapabilitiesInput> = {}) =>
    at(input, 'cpu')
      ?.elements('mode')
      .find((element) => element.attribute('name') === name);

  it('offers firmware that fits the machine', () => {
    expect(list(at({}, 'os'), 'firmware')).toEqual(['efi']);
    expect(at({}, 'os', 'loader', 'value')?.text).toBe('/firmware/code.fd');
    expect(list(at({}, 'os', 'loader'), 'secure')).toEqual(['yes', 'no']);
    const machine = { name: 'pc-i440fx-8.0', cpuMax: 255 };
    expect(list(at({ machine }, 'os'), 'firmware')).toEqual([]);
    expect(list(at({ machine }, 'os', 'loader'), 'secure')).toEqual(['no']);
  });

  it('says which models cannot be used, and why', () => {
    const custom = mode('custom');
    expect(custom?.elements('model').map((model) => [model.text, model.attribute('usable')])).toEqual([
      ['EPYC', 'no'],
      ['kvm64', 'yes'],
    ]);
    expect(custom?.element('model')?.attribute('canonical')).toBe('EPYC-v1');
    const blockers = custom?.element('blockers');
    expect(blockers?.attribute('model')).toBe('EPYC');
    expect(blockers?.elements('feature').map((feature) => feature.attribute('name'))).toEqual(['sha-ni', 'fxsr_opt']);
  });

  it('describes the host model as a plan would name it', () => {
    const hostModel = mode('host-model');
    const planned = hostModelOf(CAPABILITIES, 'tcg');
    expect(hostModel?.element('vendor')?.text).toBe('AMD');
    expect(hostModel?.element('model')?.text).toBe(planned?.model);
    expect(hostModel?.elements('feature').map((feature) => feature.attribute('policy'))).toEqual(
      planned?.features.map(({ policy }) => policy),
    );
    const required = hostModel?.elements('feature').filter((feature) => feature.attribute('policy') === 'require');
    expect(required?.map((feature) => feature.attribute('name'))).not.toContain('lahf-lm');
  });

  it('passes the host through under KVM only', () => {
    expect(mode('host-passthrough')?.attribute('supported')).toBe('no');
    const capabilities = { ...CAPABILITIES, accelerators: { kvm: { cpus: [] } } };
    expect(mode('host-passthrough', { capabilities, accelerator: 'kvm' })?.attribute('supported')).toBe('yes');
  });

  it('offers what this QEMU has', () => {
    const devices = at({}, 'devices');
    expect(list(devices?.element('disk'), 'model')).toEqual(['virtio', 'virtio-transitional']);
    expect(list(devices?.element('disk'), 'bus')).toEqual(['fdc', 'virtio']);
    expect(list(at({ machine: { name: 'pc-i440fx-8.0', cpuMax: 1 } }, 'devices', 'disk'), 'bus')).toContain('ide');
    expect(list(devices?.element('video'), 'modelType')).toEqual(['vga', 'none']);
    expect(list(devices?.element('tpm'), 'backendModel')).toEqual(['emulator', 'external']);
    expect(list(devices?.element('hostdev'), 'pciBackend')).toEqual([]);
    expect(devices?.element('redirdev')?.attribute('supported')).toBe('no');
    expect(devices?.element('redirdev')?.children).toEqual([]);
  });

  it('lists features', () => {
    expect(at({}, 'features', 'genid')?.attribute('supported')).toBe('yes');
    expect(at({}, 'features', 'async-teardown')?.attribute('supported')).toBe('yes');
    expect(at({}, 'features', 'gic')?.attribute('supported')).toBe('no');
    const virt = { arch: 'aarch64', machine: { name: 'virt-8.0', cpuMax: 512 } };
    expect(list(at(virt, 'features', 'gic'), 'version')).toEqual(['2', '3']);
    const sev = { pdh: '', certChain: '', cbitPos: 47, reducedPhysBits: 1 };
    expect(at({ capabilities: { ...CAPABILITIES, sev } }, 'features', 'sev', 'cbitpos')?.text).toBe('47');
  });
});

describe('the query', () => {
  let dir: string;
  let probes: string[];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
    probes = [];
    for (const target of ['x86_64', 'aarch64']) {
      writeFileSync(join(dir, `qemu-system-${target}`), '#!/bin/false\n');
      chmodSync(join(dir, `qemu-system-${target}`), 0o755);
    }
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  async function ask(request: DomainCapabilitiesRequest, sources: DomainCapabilitiesSources = {}): Promise<XmlElement> {
    const withKvm = { ...CAPABILITIES.accelerators, kvm: { cpus: [] } };
    const prober = {
      probeCapabilities: async ({ qemu }: { qemu: string }) => {
        probes.push(qemu);
        return { ...CAPABILITIES, binary: qemu, accelerators: withKvm };
      },
      probeAccelerator: async (known: QemuCapabilities) => known,
    };
    const xml = await formatDomainCapabilities(new CapabilitiesCache({ dir: null, prober }), request, {
      hostArch: 'x86_64',
      findEmulator: (target) => (target === 's390x' ? undefined : join(dir, `qemu-system-${target}`)),
      readKvm: async () => ({ usable: false, reason: 'permission', detail: 'opening /dev/kvm: EACCES' }),
      readHost: () => INPUT.host,
      ...sources,
    });
    return parseXml(xml).root;
  }

  it('probes the binary it leads to and no other', async () => {
    const emulator = join(dir, 'qemu-system-x86_64');
    const root = await ask({ emulator });
    expect(probes).toEqual([emulator]);
    expect(root.element('path')?.text).toBe(emulator);
    expect(root.element('domain')?.text).toBe('qemu');
  });

  it('completes what is not asked: the board for guests, and KVM where it works', async () => {
    const root = await ask({}, { readKvm: async () => ({ usable: true, timeMs: 1 }) });
    expect(root.element('machine')?.text).toBe('pc-i440fx-8.0');
    expect(root.element('domain')?.text).toBe('kvm');
    expect(root.element('arch')?.text).toBe('x86_64');
  });

  it('takes aliases of machines', async () => {
    const root = await ask({ machine: 'q35', virttype: 'qemu' });
    expect(root.element('machine')?.text).toBe('pc-q35-8.0');
    expect(root.element('vcpu')?.attribute('max')).toBe('288');
  });

  it.each([
    [{ machine: 'nonsense' }, ErrorCode.INVALID_ARG, /machine 'nonsense' is not supported/],
    [{ arch: 'bogus' }, ErrorCode.INVALID_ARG, /unknown architecture: bogus/],
    [{ arch: 's390x' }, ErrorCode.CONFIG_UNSUPPORTED, /'s390x' architecture: install qemu-system-misc/],
    [{ virttype: 'xen' }, ErrorCode.INVALID_ARG, /does not support virt type 'xen'/],
    [{ virttype: 'nonsense' }, ErrorCode.INVALID_ARG, /unknown virttype: nonsense/],
    [{ virttype: 'kvm' }, ErrorCode.INVALID_ARG, /permission: opening \/dev\/kvm: EACCES; use virttype 'qemu'/],
    [{ virttype: 'kvm', arch: 'aarch64' }, ErrorCode.INVALID_ARG, /KVM runs the host's architecture only/],
    [{ arch: 'aarch64' }, ErrorCode.INVALID_ARG, /from emulator 'x86_64' doesn't match given architecture 'aarch64'/],
    [{ emulator: '/nonexistent/qemu' }, ErrorCode.INVALID_ARG, /no emulator '\/nonexistent\/qemu'/],
  ])('refuses %j', async (request, code, message) => {
    await expect(ask(request)).rejects.toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});
