import { describe, expect, it } from 'vitest';
import { faultsOf, planContext } from '../../../../../tests/support/plan-context.ts';
import type { Props } from '../../plan/props.ts';
import { fillResourceDefaults, validateResources } from '../../sections/resources.ts';
import { FAMILY } from './index.ts';

const GUEST =
  "<maxMemory slots='2'>8388608</maxMemory><vcpu>1</vcpu><cpu><numa><cell cpus='0' memory='1048576'/></numa></cpu>";

function run(devices: string, guest = GUEST) {
  const xml = `<domain type='qemu'><name>guest</name>${guest}
    <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os><devices>${devices}</devices></domain>`;
  const context = planContext(xml, {
    caps: {
      types: ['pc-dimm', 'nvdimm', 'virtio-mem-pci', 'virtio-pmem-pci', 'sgx-epc', 'thread-context'],
      properties: { 'virtio-mem-pci': ['prealloc'] },
      features: ['object-memory-reserve', 'object-memory-file-discard'],
      sgx: { flc: true, sgx1: true, sgx2: false, sections: [] },
    },
    host: { pageSizesKiB: [4] },
    config: { memoryBackingDir: '/ram', hugetlbfsMounts: [{ path: '/huge', sizeKiB: 2048, default: true }] },
  });
  fillResourceDefaults(context);
  const selected = FAMILY.select(context.domain);
  for (const device of selected) FAMILY.fillDefaults?.(device, context);
  for (const device of selected) FAMILY.validate?.(device, context);
  validateResources(context);
  for (const [index, device] of selected.entries()) device.alias = { name: FAMILY.alias(device, index, context) };
  const plan = () =>
    selected.flatMap((device) => FAMILY.plan(device, context)).map((part) => ('props' in part ? part.props : {}));
  return { faults: faultsOf(context), plan };
}

const target = (inner: string, sizeKiB = 524_288): string => `<target><size>${sizeKiB}</size>${inner}</target>`;

describe('memory devices', () => {
  it.each<[string, string, Props[]]>([
    [
      'a module is named after its slot and comes in 2 MiB',
      `<memory model='dimm' discard='yes'>${target('<node>0</node>', 523_264)}<address type='dimm' slot='1' base='0x100000000'/></memory>`,
      [
        { 'qom-type': 'memory-backend-ram', id: 'memdimm1', size: 536_870_912 },
        { driver: 'pc-dimm', node: 0, memdev: 'memdimm1', id: 'dimm1', slot: 1, addr: 4_294_967_296 },
      ],
    ],
    [
      'an NVDIMM is its file',
      `<memory model='nvdimm' access='shared'><uuid>6d0b1c1e-2f6a-4c5e-8d57-9f0a4b2f6c11</uuid>
        <source><path>/nv,dimm</path><alignsize>2048</alignsize><pmem/></source>${target('<node>0</node><label><size>256</size></label><readonly/>')}</memory>`,
      [
        {
          'qom-type': 'memory-backend-file',
          id: 'memnvdimm0',
          'mem-path': '/nv,dimm',
          share: true,
          size: 536_870_912,
          align: 2_097_152,
          pmem: true,
        },
        {
          driver: 'nvdimm',
          node: 0,
          'label-size': 262_144,
          memdev: 'memnvdimm0',
          uuid: '6d0b1c1e-2f6a-4c5e-8d57-9f0a4b2f6c11',
          unarmed: true,
          id: 'nvdimm0',
        },
      ],
    ],
    [
      'virtio-mem fills what it plugs itself',
      `<memory model='virtio-mem'><source><pagesize>2048</pagesize></source>
        <target dynamicMemslots='yes'><size>524288</size><node>0</node><requested>2048</requested><address base='0x140000000'/></target></memory>`,
      [
        {
          'qom-type': 'memory-backend-file',
          id: 'memvirtiomem0',
          'mem-path': '/huge/libvirt/qemu/1-guest',
          reserve: false,
          size: 536_870_912,
        },
        {
          driver: 'virtio-mem-pci',
          node: 0,
          'block-size': 2_097_152,
          'requested-size': 2_097_152,
          memdev: 'memvirtiomem0',
          prealloc: true,
          memaddr: 5_368_709_120,
          'dynamic-memslots': true,
          id: 'virtiomem0',
        },
      ],
    ],
    [
      'virtio-pmem is not filled beforehand',
      `<memory model='virtio-pmem' access='shared'><source><path>/pm</path></source>${target('')}</memory>`,
      [
        { 'qom-type': 'memory-backend-file', id: 'memvirtiopmem0', 'mem-path': '/pm', share: true, size: 536_870_912 },
        { driver: 'virtio-pmem-pci', memdev: 'memvirtiopmem0', id: 'virtiopmem0' },
      ],
    ],
    [
      'enclave memory has no device',
      `<memory model='sgx-epc'><source><nodemask>0</nodemask></source>${target('<node>0</node>')}</memory>`,
      [
        {
          'qom-type': 'thread-context',
          id: 'tc-memepc0',
          'node-affinity': [0],
        },
        {
          'qom-type': 'memory-backend-epc',
          id: 'memepc0',
          prealloc: true,
          size: 536_870_912,
          'host-nodes': [0],
          policy: 'bind',
          'prealloc-context': 'tc-memepc0',
        },
      ],
    ],
  ])('%s', (_name, xml, expected) => {
    const { faults, plan } = run(xml);
    expect(faults).toEqual([]);
    expect(plan()).toEqual(expected);
  });

  it.each([
    [`<memory model='dimm'>${target('')}</memory>`, /needs the NUMA <node>/],
    [`<memory model='dimm'>${target('<node>3</node>')}</memory>`, /no NUMA cell 3/],
    [`<memory model='dimm'>${target('<node>0</node>')}<address type='dimm' slot='2'/></memory>`, /beyond the 2 slots/],
    [`<memory model='dimm'>${target('<node>0</node>')}<address type='isa'/></memory>`, /'dimm' address/],
    [
      `<memory model='dimm'>${target('<node>0</node>')}<address type='dimm' slot='0'/></memory>`.repeat(2),
      /holds another/,
    ],
    [`<memory model='dimm'>${target('<node>0</node>')}</memory>`.repeat(3), /3 memory modules/],
    [
      ['0x100000000', '0x11fffffff']
        .map((base) => `<memory model='dimm'>${target('<node>0</node>')}<address type='dimm' base='${base}'/></memory>`)
        .join(''),
      /overlaps/,
    ],
    [`<memory model='nvdimm'>${target('<node>0</node>')}</memory>`, /needs the <path>/],
    [
      `<memory model='virtio-pmem' access='private'><source><path>/x</path></source>${target('')}</memory>`,
      /access='shared'/,
    ],
    [`<memory model='virtio-mem'>${target('<node>0</node>')}</memory>`, /needs <requested>/],
    [`<memory model='virtio-mem'>${target('<requested>1048576</requested>')}</memory>`, /above <size>/],
    [`<memory model='virtio-mem'>${target('<block>3000</block><requested>3000</requested>')}</memory>`, /power of two/],
    [
      `<memory model='virtio-mem'>${target('<block>1024</block><requested>1024</requested>')}</memory>`,
      /at least 2048/,
    ],
    [`<memory model='virtio-mem'>${target('<requested>3072</requested>')}</memory>`, /no multiple/],
  ])('%s is refused', (xml, message) => {
    expect(run(xml).faults).toContainEqual(expect.stringMatching(message));
  });

  it('need room for them', () => {
    const dimm = `<memory model='dimm'>${target('<node>0</node>')}</memory>`;
    expect(run(dimm, '<memory>1048576</memory>').faults).toContain('a memory device needs <maxMemory>');
    expect(run(dimm, "<maxMemory slots='1'>8388608</maxMemory><memory>1048576</memory>").faults).toContainEqual(
      expect.stringMatching(/at least one NUMA cell/),
    );
    expect(run(dimm, GUEST.replace('8388608', '1048576')).faults).toContain('the maximum is below <memory>');
  });
});
