/** Families of one small device each: balloon, random numbers, shared memory, vsock. */
import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, type PlanHost, planContext } from '../../../../tests/support/plan-context.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { DeviceFamily } from './family.ts';
import { FAMILY as memballoon } from './memballoon/index.ts';
import { FAMILY as rng } from './rng/index.ts';
import { FAMILY as shmem } from './shmem/index.ts';
import { FAMILY as vsock } from './vsock/index.ts';

const TYPES = ['rng-random', 'rng-egd', 'ivshmem-plain', 'ivshmem-doorbell', 'vhost-vsock-pci'];

function run<D extends DeviceInfo>(family: DeviceFamily<D>, devices: string, host: PlanHost = {}) {
  const context = planContext(domainXml(`<devices>${devices}</devices>`), {
    caps: { types: TYPES, properties: { 'virtio-balloon-pci': ['deflate-on-oom'] } },
    ...host,
  });
  const selected = family.select(context.domain);
  for (const device of selected) family.fillDefaults?.(device, context);
  for (const device of selected) family.validate?.(device, context);
  for (const [index, device] of selected.entries()) device.alias = { name: family.alias(device, index, context) };
  const parts = selected.flatMap((device) => family.plan(device, context));
  return { context, faults: faultsOf(context), props: parts.map((part) => ('props' in part ? part.props : part)) };
}

describe('memballoon', () => {
  it('is planned with its options; statistics are asked for once it is there', () => {
    const { props, faults, context } = run(
      memballoon,
      "<memballoon model='virtio-non-transitional' autodeflate='off'><stats period='9'/><driver iommu='on'/></memballoon>",
    );
    expect(faults).toEqual([]);
    expect(props).toEqual([
      { driver: 'virtio-balloon-pci-non-transitional', iommu_platform: true, id: 'balloon0', 'deflate-on-oom': false },
    ]);
    expect(context.deferred).toEqual([
      {
        command: 'qom-set',
        arguments: { path: '/machine/peripheral/balloon0', property: 'guest-stats-polling-interval', value: 9 },
        optional: true,
      },
    ]);
  });

  it('may be absent, and is refused where QEMU lacks something', () => {
    expect(run(memballoon, "<memballoon model='none'/>").props).toEqual([]);
    expect(run(memballoon, "<memballoon model='xen'/>").faults).toEqual([expect.stringMatching(/no Xen balloon/)]);
    expect(run(memballoon, "<memballoon model='virtio' freePageReporting='on'/>").faults).toEqual([
      expect.stringMatching(/no free page reporting/),
    ]);
  });
});

describe('rng', () => {
  it('is planned with its source, whatever a file is called', () => {
    expect(run(rng, "<rng model='virtio'><rate bytes='5'/><backend model='random'>/a,b</backend></rng>").props).toEqual(
      [
        { 'qom-type': 'rng-random', id: 'objrng0', filename: '/a,b' },
        { driver: 'virtio-rng-pci', rng: 'objrng0', 'max-bytes': 5, period: 1000, id: 'rng0' },
      ],
    );
    const egd = "<backend model='egd' type='tcp'><source mode='connect' host='h,x' service='1'/></backend>";
    expect(run(rng, `<rng model='virtio'>${egd}</rng>`).props).toEqual([
      { backend: 'socket', id: 'charrng0', host: 'h,x', port: '1' },
      { 'qom-type': 'rng-egd', id: 'objrng0', chardev: 'charrng0' },
      { driver: 'virtio-rng-pci', rng: 'objrng0', id: 'rng0' },
    ]);
  });

  it('has the kernel’s generator by default, and needs what QEMU has', () => {
    expect(run(rng, "<rng model='virtio'><backend model='random'/></rng>").props[0]).toMatchObject({
      filename: '/dev/random',
    });
    expect(run(rng, "<rng model='virtio'><backend model='builtin'/></rng>").faults).toEqual([
      expect.stringMatching(/no 'rng-builtin'/),
    ]);
    expect(run(rng, "<rng model='virtio'><backend model='egd'/></rng>").faults).toEqual([
      expect.stringMatching(/needs a type/),
    ]);
  });
});

describe('shmem', () => {
  it('is memory, or a server’s', () => {
    const { props, faults } = run(
      shmem,
      `<shmem name='a,b' role='master'><model type='ivshmem-plain'/></shmem>
       <shmem name='pool'><model type='ivshmem-doorbell'/><server/><msi vectors='4'/></shmem>`,
    );
    expect(faults).toEqual([]);
    expect(props).toEqual([
      {
        'qom-type': 'memory-backend-file',
        id: 'shmmem-shmem0',
        'mem-path': '/dev/shm/a,b',
        size: 4_194_304,
        share: true,
      },
      { driver: 'ivshmem-plain', id: 'shmem0', master: 'on', memdev: 'shmmem-shmem0' },
      { backend: 'socket', id: 'charshmem1', path: '/var/lib/libvirt/shmem-pool-sock' },
      { driver: 'ivshmem-doorbell', id: 'shmem1', chardev: 'charshmem1', vectors: 4, ioeventfd: true },
    ]);
  });

  it.each([
    ["<shmem name='../x'><model type='ivshmem-plain'/></shmem>", /file in \/dev\/shm/],
    ["<shmem name='x'><model type='ivshmem-plain'/><size unit='M'>3</size></shmem>", /power of two/],
    ["<shmem name='x'><model type='ivshmem-plain'/><server path='/s'/></shmem>", /needs model 'ivshmem-doorbell'/],
    ["<shmem name='x'><model type='ivshmem-plain'/><msi/></shmem>", /need a <server>/],
    ["<shmem name='x'><model type='ivshmem-doorbell'/></shmem>", /needs a <server>/],
    ["<shmem name='x'/>", /no 'ivshmem' any more/],
    ["<shmem name='x'><model type='ivshmem-plain'/><address type='isa'/></shmem>", /'pci' address/],
  ])('%s is refused', (xml, message) => {
    expect(run(shmem, xml).faults).toEqual([expect.stringMatching(message)]);
  });
});

describe('vsock', () => {
  it('gets the descriptor of the kernel’s half, and an address', () => {
    const fixed = run(vsock, "<vsock><cid address='77'/></vsock>");
    expect(fixed.props).toEqual([{ driver: 'vhost-vsock-pci', id: 'vsock0', 'guest-cid': 77, vhostfd: '3' }]);
    expect(fixed.context.fds).toEqual([{ kind: 'vhost-vsock' }]);
    const auto = run(vsock, '<vsock/>', { caps: { types: TYPES }, lookup: { vsockCid: () => 1234 } });
    expect(auto.props[0]).toMatchObject({ 'guest-cid': 1234 });
    expect(auto.context.domain.devices?.vsock?.cid).toEqual({ auto: true });
  });

  it('leaves the low addresses to the host', () => {
    expect(run(vsock, "<vsock><cid auto='no' address='2'/></vsock>").faults).toEqual([
      expect.stringMatching(/from 3 on/),
    ]);
    expect(run(vsock, "<vsock><cid auto='no'/></vsock>").faults).toEqual([expect.stringMatching(/give <cid address/)]);
  });
});
