import { describe, expect, it } from 'vitest';
import { faultsOf, type PlanHost, planContext } from '../../../../tests/support/plan-context.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import { fillMachineDefaults } from '../definition/machine-defaults.ts';
import { renderPart } from '../plan/render.ts';
import { machineMemoryProps } from './memory.ts';
import { fillResourceDefaults, planResources, validateResources } from './resources.ts';

const CPUS = ['qemu64', 'Haswell', 'EPYC', 'max', 'host'].map((name) => ({ name, typename: `${name}-x86_64-cpu` }));
const CAPS: Partial<QemuCapabilities> = {
  machines: [
    {
      name: 'pc-q35-10.0',
      alias: 'q35',
      isDefault: true,
      cpuMax: 4096,
      defaultRamId: 'pc.ram',
      defaultCpuType: 'qemu64-x86_64-cpu',
    },
    { name: 'pc-q35-4.0', cpuMax: 288, numaMemSupported: true, defaultCpuType: 'qemu64-x86_64-cpu' },
  ],
  accelerators: {
    tcg: { cpus: CPUS, hostModel: { name: 'max', props: { vendor: 'AuthenticAMD', svm: true } } },
    kvm: { cpus: CPUS, hostModel: { name: 'host', props: { vendor: 'AuthenticAMD', svm: true } } },
  },
  types: ['thread-context'],
  options: { 'smp-opts': ['cpus', 'dies', 'clusters'] },
  features: [
    'object-json',
    'object-memory-ramblock-id',
    'object-memory-file-discard',
    'object-iothread-thread-pool-max',
    'object-main-loop-thread-pool-max',
  ],
};
const NODES = [0, 1].map((id) => ({ id, cpus: [2 * id, 2 * id + 1], memoryKiB: 1, distances: [], hugePages: [] }));
const HOST: PlanHost = {
  caps: CAPS,
  host: { numaNodes: NODES, pageSizesKiB: [4, 2048] },
  config: {
    memoryBackingDir: '/ram',
    hugetlbfsMounts: [
      { path: '/huge', sizeKiB: 2048, default: true },
      { path: '/giant', sizeKiB: 1_048_576, default: false },
    ],
  },
};
const MEMORY = '<memory>100000</memory>';

interface Options {
  type?: string;
  machine?: string;
}

function complete(body: string, { type = 'qemu', machine = 'q35' }: Options = {}) {
  const os = `<os><type arch='x86_64' machine='${machine}'>hvm</type></os>`;
  const context = planContext(`<domain type='${type}'><name>guest</name>${body}${os}</domain>`, HOST);
  fillMachineDefaults(context);
  fillResourceDefaults(context);
  return context;
}

function plan(body: string, options?: Options): string[] {
  const context = complete(body, options);
  return planResources(context).map((part) => renderPart(part, context.caps).join(' '));
}

function cpu(body: string, options?: Options): string | undefined {
  return plan(`${MEMORY}${body}`, options)
    .find((line) => line.startsWith('-cpu '))
    ?.slice(5);
}

function refusals(body: string, options?: Options): string[] {
  const context = complete(body, options);
  validateResources(context);
  return faultsOf(context);
}

describe('a plain guest', () => {
  it('has the machine’s processor, and memory in whole MiB', () => {
    expect(plan(MEMORY)).toEqual([
      '-cpu qemu64',
      '-m size=100352k',
      '-object {"qom-type":"memory-backend-ram","id":"pc.ram","size":102760448}',
      '-overcommit mem-lock=off',
      '-smp 1,sockets=1,cores=1,threads=1',
    ]);
  });

  it('is completed as libvirt completes it', () => {
    const { domain } = complete(`${MEMORY}<currentMemory>999999</currentMemory>`);
    expect(domain.currentMemory).toBe(100_000);
    expect(domain.vcpu).toEqual({ value: 1, placement: 'static' });
    expect(domain.cpu).toMatchObject({ mode: 'custom', match: 'exact', check: 'none' });
    expect(domain.cpu?.model).toEqual({ fallback: 'forbid', value: 'qemu64' });
  });
});

describe('-cpu', () => {
  it.each([
    ["<cpu mode='host-passthrough'/>", 'kvm', 'host,migratable=on'],
    [
      "<cpu mode='host-passthrough' migratable='off'><cache mode='disable'/></cpu>",
      'kvm',
      'host,migratable=off,host-cache-info=off,l3-cache=off',
    ],
    [
      "<cpu mode='maximum'><maxphysaddr mode='passthrough' limit='40'/></cpu>",
      'qemu',
      'max,migratable=on,host-phys-bits=on,host-phys-bits-limit=40',
    ],
    [
      "<cpu><model vendor_id='Twelve chars'>Haswell</model><cache level='3' mode='emulate'/></cpu>",
      'kvm',
      'Haswell,vendor=Twelve chars,l3-cache=on',
    ],
    [
      "<cpu><model>EPYC</model><feature name='lahf_lm' policy='forbid'/><feature name='pclmuldq'/><feature name='x' policy='force'/></cpu>",
      'kvm',
      'EPYC,lahf-lm=off,pclmulqdq=on,x=on',
    ],
    [
      "<cpu><model>EPYC</model><feature name='svm' policy='optional'/><feature name='avx' policy='optional'/></cpu>",
      'kvm',
      'EPYC,svm=on,avx=off',
    ],
    ["<cpu><model>EPYC</model><feature name='cmt'/><feature name='ospke' policy='optional'/></cpu>", 'kvm', 'EPYC'],
    ["<cpu><topology sockets='1' cores='1' threads='1'/></cpu>", 'qemu', 'qemu64'],
    ["<features><pmu state='off'/></features>", 'qemu', 'qemu64,pmu=off'],
  ])('%s', (body, type, expected) => {
    expect(cpu(body, { type })).toBe(expected);
  });

  it('names the host for host-model, with the definition’s own features on top', () => {
    const context = complete(`${MEMORY}<cpu mode='host-model'><feature name='svm' policy='disable'/></cpu>`);
    Object.assign(context, { hostCpuModel: { model: 'Haswell', features: [{ name: 'svm', policy: 'require' }] } });
    expect(renderPart(planResources(context)[0] ?? { kind: 'argument', text: '' }, context.caps)).toEqual([
      '-cpu',
      'Haswell,svm=off',
    ]);
  });

  it('takes the closest model for one that QEMU lacks, unless it may not', () => {
    expect(cpu('<cpu><model>EPYC-IBPB</model></cpu>')).toBe('EPYC,ibpb=on');
    expect(refusals(`${MEMORY}<cpu><model fallback='forbid'>EPYC-IBPB</model></cpu>`)[0]).toMatch(
      /no CPU model 'EPYC-IBPB'/,
    );
  });

  it('cannot be given further options by a model’s name', () => {
    expect(cpu('<cpu><model>EPYC,svm=on</model></cpu>', { type: 'kvm' })).toBeUndefined();
    expect(refusals(`${MEMORY}<cpu><model>EPYC,svm=on</model></cpu>`)[0]).toMatch(/is no name of a CPU model/);
  });

  it.each([
    ["<cpu mode='host-passthrough'/>", /needs KVM/],
    ["<cpu><model vendor_id='short'>EPYC</model></cpu>", /12 characters/],
    ["<cpu><model vendor_id='with,a comma'>EPYC</model></cpu>", /12 characters/],
    ["<cpu><feature name='svm'/></cpu>", /features need a <model>/],
    ["<cpu migratable='on'><model>EPYC</model></cpu>", /migratable is for/],
    ["<cpu><model>EPYC</model><feature name='a'/><feature name='a'/></cpu>", /more than once/],
    ["<cpu><model>EPYC</model><cache mode='emulate' level='2'/></cpu>", /level='3' only/],
    ["<cpu><model>EPYC</model><cache mode='passthrough'/></cpu>", /needs CPU mode/],
    ["<cpu mode='maximum'><maxphysaddr mode='passthrough' bits='40'/></cpu>", /bits are for/],
    ["<cpu><model>EPYC</model><maxphysaddr mode='emulate' limit='40'/></cpu>", /limit is for/],
  ])('%s is refused', (body, message) => {
    expect(refusals(`${MEMORY}${body}`)).toEqual([expect.stringMatching(message)]);
  });
});

describe('-smp', () => {
  it.each([
    ["<vcpu current='2'>6</vcpu>", '2,maxcpus=6,sockets=6,cores=1,threads=1'],
    [
      "<vcpu>8</vcpu><cpu><topology sockets='2' cores='2' threads='2'/></cpu>",
      '8,sockets=2,dies=1,clusters=1,cores=2,threads=2',
    ],
  ])('%s', (body, expected) => {
    expect(plan(`${MEMORY}${body}`)).toContain(`-smp ${expected}`);
  });

  it('plugs processors in order where QEMU counts them', () => {
    const context = complete(`${MEMORY}<vcpu>8</vcpu><vcpus>
      <vcpu id='0' enabled='yes' hotpluggable='no'/>
      <vcpu id='7' enabled='yes' hotpluggable='yes' order='1'/>
      <vcpu id='2' enabled='yes' hotpluggable='yes' order='3'/>
    </vcpus><cpu><topology sockets='2' cores='2' threads='2'/></cpu>`);
    expect(planResources(context)).toContainEqual(
      expect.objectContaining({ option: 'smp', props: expect.objectContaining({ cpus: 1, maxcpus: 8 }) }),
    );
    expect(context.deferred.map((command) => command.arguments)).toEqual([
      { driver: 'qemu64-x86_64-cpu', id: 'vcpu7', 'socket-id': 1, 'core-id': 1, 'thread-id': 1 },
      { driver: 'qemu64-x86_64-cpu', id: 'vcpu2', 'socket-id': 0, 'core-id': 1, 'thread-id': 0 },
    ]);
    expect(context.domain.vcpu?.current).toBe(3);
  });

  it.each([
    ["<vcpu current='3'>2</vcpu>", /above the maximum/],
    ['<vcpu>5000</vcpu>', /at most 4096/],
    ["<vcpu>4</vcpu><cpu><topology sockets='1' cores='1' threads='1'/></cpu>", /topology has 1 processors/],
    ["<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='no'/></vcpus>", /CPU 0 must be there/],
    ["<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='5' enabled='yes'/></vcpus>", /no virtual CPU 5/],
    ["<vcpu>300</vcpu><devices><iommu model='intel'><driver eim='off'/></iommu></devices>", /need an <iommu>/],
  ])('%s is refused', (body, message) => {
    expect(refusals(`${MEMORY}${body}`)).toContainEqual(expect.stringMatching(message));
  });
});

describe('memory backends', () => {
  const backing = (inner: string) => plan(`${MEMORY}<memoryBacking>${inner}</memoryBacking>`)[2];
  const object = (props: Record<string, unknown>) => `-object ${JSON.stringify({ ...props, size: 102_760_448 })}`;

  it.each([
    [
      '<hugepages/>',
      { 'mem-path': '/huge/libvirt/qemu/1-guest', 'x-use-canonical-path-for-ramblock-id': false, prealloc: true },
    ],
    [
      "<hugepages><page size='1' unit='G'/></hugepages>",
      { 'mem-path': '/giant/libvirt/qemu/1-guest', 'x-use-canonical-path-for-ramblock-id': false, prealloc: true },
    ],
    [
      "<source type='file'/><discard/>",
      { 'mem-path': '/ram/1-guest/pc.ram', 'x-use-canonical-path-for-ramblock-id': false, 'discard-data': true },
    ],
    [
      "<access mode='shared'/>",
      { 'mem-path': '/ram/1-guest/pc.ram', 'x-use-canonical-path-for-ramblock-id': false, share: true },
    ],
  ])('%s', (inner, props) => {
    expect(backing(inner)).toBe(object({ 'qom-type': 'memory-backend-file', id: 'pc.ram', ...props }));
  });

  it('memfd, filled by threads', () => {
    expect(
      backing("<hugepages/><source type='memfd'/><access mode='private'/><allocation mode='immediate' threads='4'/>"),
    ).toBe(
      object({
        'qom-type': 'memory-backend-memfd',
        id: 'pc.ram',
        hugetlb: true,
        hugetlbsize: 2_097_152,
        share: false,
        'x-use-canonical-path-for-ramblock-id': false,
        prealloc: true,
        'prealloc-threads': 4,
      }),
    );
  });

  it('pages of the normal size are normal memory', () => {
    expect(backing("<hugepages><page size='4'/></hugepages>")).toBe(
      object({ 'qom-type': 'memory-backend-ram', id: 'pc.ram' }),
    );
  });

  it('asks for the directories, once', () => {
    const context = complete(`<memoryBacking><hugepages/></memoryBacking><vcpu>2</vcpu>
      <cpu><numa><cell cpus='0' memory='2048'/><cell cpus='1' memory='2048'/></numa></cpu>`);
    planResources(context);
    expect(context.files).toEqual([{ kind: 'directory', path: '/huge/libvirt/qemu/1-guest', mode: 0o700 }]);
  });

  it('refuses what cannot be', () => {
    expect(() =>
      plan(`${MEMORY}<memoryBacking><hugepages><page size='16' unit='M'/></hugepages></memoryBacking>`),
    ).toThrow(/no hugetlbfs with pages of 16384 KiB/);
    expect(
      refusals(`${MEMORY}<memoryBacking><hugepages><page size='2048' nodeset='1'/></hugepages></memoryBacking>`),
    ).toEqual(['the guest has no NUMA cell 1']);
    expect(refusals(`${MEMORY}<memoryBacking><hugepages/><source type='anonymous'/></memoryBacking>`)[0]).toMatch(
      /anonymous/,
    );
    expect(refusals(`${MEMORY}<memtune><min_guarantee>1</min_guarantee></memtune>`)[0]).toMatch(/min_guarantee/);
    expect(refusals('')).toEqual([expect.stringMatching(/no memory/)]);
    expect(refusals("<memory unit='KiB'>9007199254740991</memory>")).toEqual([expect.stringMatching(/too large/)]);
  });

  it('bind to host nodes, and are filled from a thread near them', () => {
    const numatune = "<numatune><memory mode='preferred' nodeset='0-1'/></numatune>";
    const near = plan(`${MEMORY}<memoryBacking><hugepages/></memoryBacking>${numatune}`);
    expect(near[2]).toBe('-object {"qom-type":"thread-context","id":"tc-pc.ram","node-affinity":[0,1]}');
    expect(near[3]).toContain('"host-nodes":[0,1],"policy":"preferred","prealloc-context":"tc-pc.ram"');
    const pinned = plan(`${MEMORY}<memoryBacking><hugepages/></memoryBacking><vcpu cpuset='2-3'>1</vcpu>${numatune}`);
    expect(pinned[2]).toContain('"node-affinity":[1]');
    const restrictive = plan(`${MEMORY}<numatune><memory mode='restrictive' nodeset='1'/></numatune>`);
    expect(restrictive[2]).not.toContain('host-nodes');
    expect(plan(`${MEMORY}<vcpu placement='auto'>1</vcpu>`)[2]).toContain('"host-nodes":[0,1],"policy":"bind"');
  });

  it.each([
    ["<numatune><memory placement='static'/></numatune>", /needs a nodeset/],
    ["<numatune><memory nodeset='7'/></numatune>", /no NUMA node 7/],
    ["<numatune><memnode cellid='0' nodeset='0'/></numatune>", /needs guest NUMA cells/],
    [
      "<numatune><memory nodeset='0' mode='restrictive'/><memnode cellid='0' mode='strict' nodeset='0'/></numatune><cpu><numa><cell cpus='0' memory='1024'/></numa></cpu>",
      /restrictive/,
    ],
  ])('%s is refused', (body, message) => {
    expect(refusals(`${MEMORY}${body}`)).toEqual([expect.stringMatching(message)]);
  });
});

describe('-numa', () => {
  const CELLS =
    "<vcpu>4</vcpu><cpu><numa><cell id='1' cpus='1' memory='1024'/><cell id='0' memory='2048'/></numa></cpu>";

  it('has a backend a cell; processors without a cell go to the first', () => {
    expect(plan(CELLS).slice(1)).toEqual([
      '-m size=3072k',
      '-overcommit mem-lock=off',
      '-smp 4,sockets=4,cores=1,threads=1',
      '-object {"qom-type":"memory-backend-ram","id":"ram-node0","size":2097152}',
      '-numa node,nodeid=0,cpus=0,cpus=2-3,memdev=ram-node0',
      '-object {"qom-type":"memory-backend-ram","id":"ram-node1","size":1048576}',
      '-numa node,nodeid=1,cpus=1,memdev=ram-node1',
    ]);
    expect(machineMemoryProps(complete(CELLS))['memory-backend']).toBeUndefined();
    expect(machineMemoryProps(complete(MEMORY))['memory-backend']).toBe('pc.ram');
  });

  it('keeps to mem= on machines that had nothing else', () => {
    const lines = plan(`${CELLS}<memoryBacking><allocation mode='immediate'/></memoryBacking>`, {
      machine: 'pc-q35-4.0',
    });
    expect(lines.slice(4)).toEqual([
      '-mem-prealloc',
      '-numa node,nodeid=0,cpus=0,cpus=2-3,mem=2',
      '-numa node,nodeid=1,cpus=1,mem=1',
    ]);
    const shared = plan(`${CELLS}<memoryBacking><access mode='shared'/></memoryBacking>`, { machine: 'pc-q35-4.0' });
    expect(shared.join('\n')).toContain('memdev=ram-node0');
  });

  it('gives all distances once one is given', () => {
    const lines = plan(`<vcpu>2</vcpu><cpu><numa>
      <cell cpus='0' memory='1024'><distances><sibling id='1' value='31'/></distances></cell>
      <cell cpus='1' memory='1024'/><cell memory='1024'/></numa></cpu>`);
    expect(lines.filter((line) => line.startsWith('-numa dist')).map((line) => line.slice(11))).toEqual([
      'src=0,dst=0,val=10',
      'src=0,dst=1,val=31',
      'src=0,dst=2,val=20',
      'src=1,dst=0,val=31',
      'src=1,dst=1,val=10',
      'src=1,dst=2,val=20',
      'src=2,dst=0,val=20',
      'src=2,dst=1,val=20',
      'src=2,dst=2,val=10',
    ]);
  });

  it('describes caches and links', () => {
    const body = `<vcpu>1</vcpu><cpu><numa>
      <cell cpus='0' memory='1024'><cache level='1' associativity='full' policy='writethrough'><size value='1' unit='MiB'/><line value='64' unit='B'/></cache></cell>
      <cell memory='1024'/>
      <interconnects>
        <latency initiator='0' target='0' cache='1' type='read' value='3'/>
        <latency initiator='0' target='1' type='access' value='9'/>
        <bandwidth initiator='0' target='1' type='write' value='1' unit='GiB'/>
      </interconnects></numa></cpu>`;
    expect(plan(body).slice(-7)).toEqual([
      '-numa node,nodeid=0,cpus=0,initiator=0,memdev=ram-node0',
      '-object {"qom-type":"memory-backend-ram","id":"ram-node1","size":1048576}',
      '-numa node,nodeid=1,initiator=0,memdev=ram-node1',
      '-numa hmat-lb,initiator=0,target=0,hierarchy=first-level,data-type=read-latency,latency=3',
      '-numa hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=9',
      '-numa hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=write-bandwidth,bandwidth=1048576K',
      '-numa hmat-cache,node-id=0,size=1024K,level=1,associativity=complex,policy=write-through,line=64',
    ]);
    expect(machineMemoryProps(complete(body))['hmat']).toBe(true);
    expect(refusals(body)).toEqual([]);
  });

  it.each([
    ["<cell id='0' memory='1'/><cell id='2' memory='1'/>", /does not fit/],
    ["<cell cpus='0' memory='1'/><cell cpus='0' memory='1'/>", /in cell 0 too/],
    ["<cell cpus='0-9' memory='1'/>", /no virtual CPU 1/],
    ["<cell cpus='0' memory='1'><distances><sibling id='0' value='11'/></distances></cell>", /must be 10/],
    [
      "<cell cpus='0' memory='1'/><cell memory='1'/><interconnects><latency initiator='1' target='0' type='read' value='1'/></interconnects>",
      /cannot initiate/,
    ],
    [
      "<cell cpus='0' memory='1'/><interconnects><latency initiator='0' target='0' cache='2' type='read' value='1'/></interconnects>",
      /no cache of level 2/,
    ],
  ])('%s is refused', (cells, message) => {
    expect(refusals(`<cpu><numa>${cells}</numa></cpu>`)).toContainEqual(expect.stringMatching(message));
  });
});

describe('I/O threads', () => {
  it('fill up the ids that are not given', () => {
    const context = complete(`${MEMORY}<iothreads>4</iothreads><defaultiothread thread_pool_max='3'/>
      <iothreadids><iothread id='2' thread_pool_min='1'><poll max='9' grow='2'/></iothread><iothread id='9'/></iothreadids>`);
    const lines = planResources(context).map((part) => renderPart(part, context.caps).join(' '));
    expect(lines.slice(-5)).toEqual([
      '-object {"qom-type":"main-loop","id":"main-loop","thread-pool-max":3}',
      '-object {"qom-type":"iothread","id":"iothread2","thread-pool-min":1,"poll-max-ns":9,"poll-grow":2}',
      '-object {"qom-type":"iothread","id":"iothread9"}',
      '-object {"qom-type":"iothread","id":"iothread1"}',
      '-object {"qom-type":"iothread","id":"iothread3"}',
    ]);
  });

  it.each([
    ["<iothreadids><iothread id='1'/><iothread id='1'/></iothreadids>", /more than once/],
    ["<iothreadids><iothread id='1' thread_pool_min='4' thread_pool_max='2'/></iothreadids>", /above thread_pool_max/],
    ["<iothreads>1</iothreads><cputune><iothreadpin iothread='2' cpuset='0'/></cputune>", /no I\/O thread 2/],
    [
      "<iothreads>1</iothreads><cputune><iothreadsched iothreads='1-2' scheduler='batch'/></cputune>",
      /no I\/O thread 2/,
    ],
    [
      "<vcpu>2</vcpu><cputune><vcpusched vcpus='0-1' scheduler='idle'/><vcpusched vcpus='1' scheduler='idle'/></cputune>",
      /two schedulers/,
    ],
    ["<cputune><emulatorsched scheduler='fifo'/></cputune>", /needs a priority/],
    ["<cputune><cachetune vcpus='0'/><memorytune vcpus='0-1'/></cputune>", /overlap/],
  ])('%s is refused', (body, message) => {
    expect(refusals(`${MEMORY}${body}`)).toEqual([expect.stringMatching(message)]);
  });
});
