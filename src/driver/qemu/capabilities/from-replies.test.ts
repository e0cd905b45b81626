/** Replies → capabilities, on a small dialogue of our own; and the questions that planners ask of the result. */
import { describe, expect, it } from 'vitest';
import {
  findCpu,
  findDefaultMachine,
  findMachine,
  hasCommand,
  hasDevice,
  hasEvent,
  hasFeature,
  hasMigrationCapability,
  hasOption,
  hasProperty,
  versionAtLeast,
} from './capabilities.ts';
import { addAccelerator, capabilitiesFromReplies } from './from-replies.ts';
import { CapabilitiesReplyError, type ProbeReply } from './replies.ts';

type Values = Record<string, ProbeReply['result'] extends infer R ? (R extends { value: infer V } ? V : never) : never>;

const MACHINES = [
  {
    name: 'pc-q35-7.2',
    alias: 'q35',
    'cpu-max': 288,
    'hotpluggable-cpus': true,
    'default-ram-id': 'pc.ram',
    acpi: true,
  },
  {
    name: 'pc-i440fx-7.2',
    alias: 'pc',
    'is-default': true,
    'cpu-max': 255,
    deprecated: false,
    'numa-mem-supported': false,
  },
  { name: 'q35-like', alias: 'pc-q35-7.2', 'cpu-max': 1, deprecated: true },
];

function replies(changes: Values = {}): ProbeReply[] {
  const values: Values = {
    'query-version': { qemu: { major: 7, minor: 2, micro: 9 }, package: 'Debian' },
    'query-target': { arch: 'x86_64' },
    'query-kvm': { present: true, enabled: false },
    'query-qmp-schema': [
      { name: 'device_add', 'meta-type': 'command', features: ['json-cli-hotplug'] },
      { name: 'STOP', 'meta-type': 'event' },
    ],
    'qom-list-types': [{ name: 'virtio-blk-pci' }, { name: 'pc-q35-7.2-machine' }, { name: 'max-x86_64-cpu' }],
    'query-machines': MACHINES,
    'query-cpu-definitions': [
      { name: 'qemu64', typename: 'qemu64-x86_64-cpu', 'unavailable-features': ['svm'], deprecated: false },
      { name: 'host', typename: 'host-x86_64-cpu', deprecated: true, 'alias-of': 'x' },
    ],
    'query-tpm-models': ['tpm-tis'],
    'query-tpm-types': ['emulator'],
    'query-command-line-options': [{ option: 'sandbox', parameters: [{ name: 'spawn' }, { name: 'spawn' }] }],
    'query-migrate-capabilities': [{ capability: 'multifd', state: false }],
    ...changes,
  };
  const expansion = (type: string, model: Record<string, unknown>, props: Record<string, boolean>) =>
    ({
      execute: 'query-cpu-model-expansion',
      // Keys in another order than ours: replies are found by content.
      arguments: { model, type } as ProbeReply['arguments'],
      result: { value: { model: { name: 'base', props } } },
    }) as ProbeReply;
  return [
    ...Object.entries(values).map(([execute, value]) => ({ execute, result: { value } })),
    {
      execute: 'device-list-properties',
      arguments: { typename: 'virtio-blk-pci' },
      result: { value: [{ name: 'iothread', type: 'str' }] },
    },
    {
      execute: 'device-list-properties',
      arguments: { typename: 'virtio-net-ccw' },
      result: { error: { class: 'DeviceNotFound', desc: 'no' } },
    },
    expansion('static', { name: 'max' }, { sse: true, invtsc: false, lm: true }),
    expansion('static', { props: { migratable: false }, name: 'max' }, { sse: true, invtsc: true, lm: true }),
    { execute: 'query-sev-capabilities', result: { error: { class: 'GenericError', desc: 'no SEV' } } },
  ];
}

const capabilities = capabilitiesFromReplies('/usr/bin/qemu', replies());

describe('capabilitiesFromReplies', () => {
  it('reads what is the same for every accelerator', () => {
    expect(capabilities).toMatchObject({
      format: 1,
      binary: '/usr/bin/qemu',
      version: { major: 7, minor: 2, micro: 9 },
      package: 'Debian',
      arch: 'x86_64',
      kvm: { present: true, enabled: false },
      types: ['virtio-blk-pci'],
      tpmModels: ['tpm-tis'],
      tpmTypes: ['emulator'],
      options: { sandbox: ['spawn'] },
    });
    expect(capabilities.sev).toBeUndefined();
    expect(capabilities.sgx).toBeUndefined();
  });

  it('survives JSON unchanged', () => {
    expect(JSON.parse(JSON.stringify(capabilities))).toEqual(capabilities);
  });

  it('files CPU models under the accelerator that was in use', () => {
    expect(Object.keys(capabilities.accelerators)).toEqual(['tcg']);
    expect(capabilities.accelerators.tcg?.hostModel).toEqual({
      name: 'max',
      props: { invtsc: false, lm: true, sse: true },
      nonMigratable: ['invtsc'],
    });
    expect(findCpu(capabilities, 'tcg', 'qemu64')?.unavailableFeatures).toEqual(['svm']);
    expect(findCpu(capabilities, 'tcg', 'host')).toEqual({
      name: 'host',
      typename: 'host-x86_64-cpu',
      deprecated: true,
      aliasOf: 'x',
    });
    expect(findCpu(capabilities, 'kvm', 'qemu64')).toBeUndefined();
  });

  it('reads SEV and SGX where there are any', () => {
    const other = capabilitiesFromReplies('q', [
      {
        execute: 'query-sev-capabilities',
        result: { value: { pdh: 'p', 'cert-chain': 'c', cbitpos: 51, 'reduced-phys-bits': 1, 'cpu0-id': 'i' } },
      },
      {
        execute: 'query-sgx-capabilities',
        result: { value: { sgx: true, flc: true, sgx1: true, sgx2: false, sections: [{ node: 0, size: 4096 }] } },
      },
      ...replies(),
    ]);
    expect(other.sev).toEqual({ pdh: 'p', certChain: 'c', cbitPos: 51, reducedPhysBits: 1, cpu0Id: 'i' });
    expect(other.sgx).toEqual({ flc: true, sgx1: true, sgx2: false, sections: [{ node: 0, sizeBytes: 4096 }] });
  });

  it('names the reply that is missing', () => {
    const without = replies().filter(({ execute }) => execute !== 'query-machines');
    expect(() => capabilitiesFromReplies('q', without)).toThrow(CapabilitiesReplyError);
    expect(() => capabilitiesFromReplies('q', without)).toThrow(/'query-machines' was not answered/);
  });

  it('names the reply that was refused', () => {
    const refused: ProbeReply = { execute: 'query-version', result: { error: { class: 'X', desc: 'not today' } } };
    expect(() => capabilitiesFromReplies('q', [refused, ...replies()])).toThrow(/refused: not today/);
  });
});

describe('addAccelerator', () => {
  it('keeps machine types only where they differ', () => {
    expect(addAccelerator(capabilities, 'kvm', replies()).accelerators.kvm?.machines).toBeUndefined();
    const other = addAccelerator(
      capabilities,
      'kvm',
      replies({ 'query-machines': [{ name: 'virt', 'cpu-max': 512 }] }),
    );
    expect(findMachine(other, 'virt')).toBeUndefined();
    expect(findMachine(other, 'virt', 'kvm')).toEqual({ name: 'virt', cpuMax: 512 });
    expect(Object.keys(other.accelerators)).toEqual(['tcg', 'kvm']);
  });
});

describe('questions', () => {
  it('finds machines by name before alias', () => {
    expect(findMachine(capabilities, 'q35')?.name).toBe('pc-q35-7.2');
    expect(findMachine(capabilities, 'pc-q35-7.2')?.name).toBe('pc-q35-7.2');
    expect(findMachine(capabilities, 'nope')).toBeUndefined();
    expect(findDefaultMachine(capabilities)?.name).toBe('pc-i440fx-7.2');
    expect(findMachine(capabilities, 'pc')).toEqual({
      name: 'pc-i440fx-7.2',
      alias: 'pc',
      isDefault: true,
      cpuMax: 255,
    });
  });

  it('answers about devices, properties, options, commands, events and features', () => {
    expect(hasDevice(capabilities, 'virtio-blk-pci')).toBe(true);
    expect(hasDevice(capabilities, 'virtio-blk')).toBe(false);
    expect(hasProperty(capabilities, 'virtio-blk-pci', 'iothread')).toBe(true);
    expect(hasProperty(capabilities, 'virtio-blk-pci', 'ats')).toBe(false);
    expect(hasProperty(capabilities, 'virtio-net-ccw', 'iothread')).toBe(false);
    expect(hasOption(capabilities, 'sandbox')).toBe(true);
    expect(hasOption(capabilities, 'sandbox', 'spawn')).toBe(true);
    expect(hasOption(capabilities, 'sandbox', 'obsolete')).toBe(false);
    expect(hasOption(capabilities, 'constructor')).toBe(false);
    expect(hasCommand(capabilities, 'device_add')).toBe(true);
    expect(hasEvent(capabilities, 'STOP')).toBe(true);
    expect(hasFeature(capabilities, 'device-json-hotplug')).toBe(true);
    expect(hasFeature(capabilities, 'netdev-stream')).toBe(false);
    expect(hasMigrationCapability(capabilities, 'multifd')).toBe(true);
  });

  it.each([
    [6, 0, 0, true],
    [7, 0, 0, true],
    [7, 2, 9, true],
    [7, 2, 10, false],
    [7, 3, 0, false],
    [8, 0, 0, false],
    [6, 9, 99, true],
  ])('version at least %i.%i.%i: %s', (major, minor, micro, expected) => {
    expect(versionAtLeast(capabilities, major, minor, micro)).toBe(expected);
  });
});
