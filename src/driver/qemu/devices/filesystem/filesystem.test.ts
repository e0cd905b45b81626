import { describe, expect, it } from 'vitest';
import { domainToXml, parseDomain } from '../../../../model/domain/domain.ts';
import { formatXml } from '../../../../xml/format.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { FILESYSTEM } from './index.ts';

const TYPES = ['virtio-9p-pci', 'vhost-user-fs-pci'];
const PROPERTIES = { 'vhost-user-fs-device': ['bootindex'] } as const;
const SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";

const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [FILESYSTEM], types: TYPES, properties: PROPERTIES, xml: SHARED, ...options });
const virtiofs = (inside: string, attributes = '') =>
  `<filesystem ${attributes}><driver type='virtiofs'/>${inside}<target dir='tag'/></filesystem>`;
const nineP = (attributes: string, inside = '') =>
  `<filesystem ${attributes}>${inside}<source dir='/d'/><target dir='tag'/></filesystem>`;

/** A host on which virtiofsd has that version. */
const withVirtiofsd = (path: string, version: string): Partial<BenchOptions> => ({
  prepare: (context) => Object.assign(context.host, { helpers: { virtiofsd: { path, version } } }),
});

describe('9p', () => {
  it.each([
    [nineP(''), 'local,security_model=passthrough,id=fsdev-fs0,path=/d'],
    [nineP("accessmode='squash'"), 'local,security_model=none,id=fsdev-fs0,path=/d'],
    [
      nineP("accessmode='mapped' fmode='644' dmode='0755' multidevs='remap'"),
      'local,security_model=mapped,multidevs=remap,fmode=0644,dmode=0755,id=fsdev-fs0,path=/d',
    ],
    [
      nineP('', "<driver wrpolicy='immediate'/><readonly/>"),
      'local,security_model=passthrough,writeout=immediate,id=fsdev-fs0,path=/d,readonly=on',
    ],
    [
      "<filesystem><source dir='/a,fsdriver=proxy'/><target dir='t'/></filesystem>",
      'local,security_model=passthrough,id=fsdev-fs0,path=/a,,fsdriver=proxy',
    ],
  ])('%s', (xml, fsdev) => {
    const { args, faults } = bench(xml);
    expect(faults).toEqual([]);
    expect(args[0]).toBe(`-fsdev ${fsdev}`);
  });

  it('is a virtio device of the given model', () => {
    expect(bench(nineP("model='virtio-transitional'", "<driver iommu='on'/>")).args[1]).toBe(
      '-device {"driver":"virtio-9p-pci-transitional","iommu_platform":true,"id":"fs0","fsdev":"fsdev-fs0","mount_tag":"tag"}',
    );
  });
});

describe('virtiofs', () => {
  it('listens for QEMU before its server runs', () => {
    const { args, context, faults } = bench(
      "<filesystem><driver type='virtiofs' queue='512'/><source dir='/d'/><target dir='t'/><boot order='2'/></filesystem>",
    );
    const path = '/var/lib/libvirt/qemu/domain-1-demo/fs0-fs.sock';
    expect(faults).toEqual([]);
    expect(args).toEqual([
      `-chardev socket,id=chr-vu-fs0,path=${path}`,
      '-device {"driver":"vhost-user-fs-pci","id":"fs0","chardev":"chr-vu-fs0","queue-size":512,"tag":"t","bootindex":2}',
    ]);
    expect(context.helpers).toEqual([
      {
        name: 'fs0-virtiofsd',
        command: 'virtiofsd',
        args: ['--fd=3', '--shared-dir=/d'],
        fds: [{ kind: 'listen-unix', path, blocking: true }],
      },
    ]);
  });

  const tuned = `<binary xattr='on'><cache mode='none'/><sandbox mode='chroot'/><lock posix='off' flock='on'/>
    <thread_pool size='16'/></binary><source dir='/a,b\\c'/>`;

  it('speaks to the Rust server in its own options', () => {
    const idmap = "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='1' count='2'/></idmap>";
    const { context } = bench(
      virtiofs(`${tuned}${idmap}<readonly/>`),
      withVirtiofsd('/usr/libexec/virtiofsd', '1.10.0'),
    );
    expect(context.helpers[0]).toMatchObject({ command: '/usr/libexec/virtiofsd' });
    expect(context.helpers[0]?.args).toEqual([
      '--fd=3',
      '--shared-dir=/a,b\\c',
      '--cache=never',
      '--sandbox=chroot',
      '--xattr',
      '-o',
      'flock',
      '-o',
      'no_posix_lock',
      '--thread-pool-size=16',
      '--uid-map=:0:100000:65536:',
      '--gid-map=:0:1:2:',
      '--readonly',
    ]);
  });

  it("speaks to QEMU's own server in its options, escaped", () => {
    const old = withVirtiofsd('/usr/lib/qemu/virtiofsd', '7.2.17');
    expect(bench(virtiofs(tuned), old).context.helpers[0]?.args).toEqual([
      '--fd=3',
      '-o',
      'source=/a\\,b\\\\c,cache=none,sandbox=chroot,xattr,flock,no_posix_lock',
      '--thread-pool-size=16',
    ]);
    expect(() => bench(virtiofs("<source dir='/d'/><readonly/>"), old)).toThrow(/Rust virtiofsd/);
  });

  it('connects to a server that runs elsewhere', () => {
    const { args, context, faults } = bench(virtiofs("<source socket='/s'/>"));
    expect(faults).toEqual([]);
    expect(args[0]).toBe('-chardev socket,id=chr-vu-fs0,path=/s');
    expect(context.helpers).toEqual([]);
  });

  it('takes memory that each NUMA cell shares', () => {
    const cell = (access: string) => `<cpu><numa><cell id='0' cpus='0' memory='1'${access}/></numa></cpu>`;
    expect(bench(virtiofs("<source dir='/d'/>"), { xml: cell(" memAccess='shared'") }).faults).toEqual([]);
    expect(bench(virtiofs("<source dir='/d'/>"), { xml: SHARED + cell(" memAccess='private'") }).faults).toHaveLength(
      1,
    );
  });
});

describe('refusals', () => {
  it.each([
    ['other types', "<filesystem type='ram'><source usage='1'/><target dir='t'/></filesystem>"],
    ['no source', "<filesystem><target dir='t'/></filesystem>"],
    ['no tag', "<filesystem><source dir='/d'/></filesystem>"],
    ['other drivers', nineP('', "<driver type='loop'/>")],
    ['modes without mapping', nineP("fmode='644'")],
    ['booting from 9p', nineP('', "<boot order='1'/>")],
    ['mapped virtiofs', virtiofs("<source dir='/d'/>", "accessmode='mapped'")],
    ['multidevs of virtiofs', virtiofs("<source dir='/d'/>", "multidevs='warn'")],
    ["settings of another's server", virtiofs("<source socket='/s'/><readonly/>")],
  ])('%s', (_name, xml) => expect(bench(xml).faults).toHaveLength(1));

  it('virtiofs without shared memory, or without the device', () => {
    expect(bench(virtiofs("<source dir='/d'/>"), { xml: '' }).faults).toHaveLength(1);
    expect(bench(virtiofs("<source dir='/d'/>"), { types: [] }).faults).toHaveLength(1);
  });
});

it('is written back as it was read', () => {
  const xml = `<domain type='qemu'>
  <devices>
    <filesystem type='mount' accessmode='mapped' model='virtio' multidevs='remap' fmode='0640' dmode='0750'>
      <driver type='path' wrpolicy='immediate' iommu='on'/>
      <source dir='/d'/>
      <target dir='t'/>
      <readonly/>
      <alias name='fs0'/>
    </filesystem>
  </devices>
</domain>`;
  const { domain, warnings } = parseDomain(xml);
  expect(warnings).toEqual([]);
  expect(formatXml(domainToXml(domain)).trim()).toBe(xml);
});
