import { describe, expect, it } from 'vitest';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { DISK } from '../disk/index.ts';
import { assignNodeIndexes } from './node-index.ts';

const bench = (xml: string, options: Partial<BenchOptions> = {}) => benchDevices(xml, { families: [DISK], ...options });

/** A disk with the given type, driver and source. */
const disk = (type: string, source: string, { driver = "<driver type='raw'/>", rest = '', dev = 'vda' } = {}) =>
  `<disk type='${type}'>${driver}${source}<target dev='${dev}' bus='virtio'/>${rest}</disk>`;
const network = (attributes: string, inside: string, options = {}) =>
  disk('network', `<source ${attributes}>${inside}</source>`, options);

const nodesOf = (xml: string, options?: Partial<BenchOptions>) => {
  const { parts, faults } = bench(xml, options);
  expect(faults).toEqual([]);
  return parts.flatMap((part) => (part.kind === 'blockdev' ? [part.props] : []));
};

describe('node numbers', () => {
  it('count from the last disk, down each chain, and over empty drives', () => {
    const chain = "<backingStore type='file'><format type='raw'/><source file='/b'/></backingStore>";
    const { domain } = bench(
      disk('file', "<source file='/a'/>", { driver: "<driver type='qcow2'/>", rest: chain }) +
        "<disk device='cdrom'><target dev='sda' bus='sata'/></disk>" +
        disk('file', "<source file='/c'/>", { dev: 'vdb' }),
    );
    const [first, , last] = domain.devices?.disks ?? [];
    expect([first?.source?.index, first?.backingStore?.source?.index, last?.source?.index]).toEqual([3, 4, 1]);
    assignNodeIndexes(domain);
    expect(first?.source?.index).toBe(3);
  });

  it('of a disk that is plugged in later follow those in use', () => {
    const { domain } = bench(disk('file', "<source file='/a'/>"));
    const { domain: other } = bench(disk('file', "<source file='/b'/>", { dev: 'vdb' }));
    const added = other.devices?.disks[0];
    if (added?.source === undefined) throw new Error('no source');
    delete added.source.index;
    domain.devices?.disks.push(added);
    assignNodeIndexes(domain);
    expect(added.source.index).toBe(2);
  });

  it('in a definition are not taken over from a running guest', () => {
    const { domain } = bench(disk('file', "<source file='/a' index='7'/>"));
    expect(domain.devices?.disks[0]?.source?.index).toBe(1);
  });
});

describe('layers', () => {
  it('opens raw files directly, with all modes on the one node', () => {
    const driver = "<driver type='raw' cache='unsafe' io='threads' discard='unmap' detect_zeroes='unmap'/>";
    expect(nodesOf(disk('file', "<source file='/a'/>", { driver }))).toEqual([
      {
        driver: 'file',
        filename: '/a',
        aio: 'threads',
        'node-name': 'libvirt-1-storage',
        'read-only': false,
        discard: 'unmap',
        'detect-zeroes': 'unmap',
        cache: { direct: false, 'no-flush': true },
      },
    ]);
  });

  it('puts formats above files, and chains on top of each other', () => {
    const rest = `<backingStore type='block'><format type='qcow2'/><source dev='/dev/b'/>
      <backingStore type='file'><format type='raw'/><source file='/c'/><backingStore/></backingStore></backingStore>`;
    const [base, lowerStorage, lower, storage, top] = nodesOf(
      disk('file', "<source file='/a'/>", { driver: "<driver type='qcow2' detect_zeroes='on'/>", rest }),
    );
    expect(base).toMatchObject({ driver: 'file', 'node-name': 'libvirt-3-storage', 'read-only': true });
    expect(lowerStorage).toMatchObject({ driver: 'host_device', 'auto-read-only': true, discard: 'unmap' });
    expect(lower).toMatchObject({ driver: 'qcow2', 'read-only': true, backing: 'libvirt-3-storage' });
    expect(lower?.['detect-zeroes']).toBeUndefined();
    expect(storage).toMatchObject({ filename: '/a' });
    expect(top).toMatchObject({ 'read-only': false, backing: 'libvirt-2-format', 'detect-zeroes': 'on' });
  });

  it('says where a chain ends, and leaves it open where the definition does', () => {
    const qcow2 = { driver: "<driver type='qcow2'/>" };
    expect(
      nodesOf(disk('file', "<source file='/a'/>", { ...qcow2, rest: '<backingStore/>' })).at(-1)?.['backing'],
    ).toBeNull();
    expect(nodesOf(disk('file', "<source file='/a'/>", qcow2)).at(-1)).not.toHaveProperty('backing');
  });

  it('cuts slices out of raw and formatted files', () => {
    const source = "<source file='/a'><slices><slice type='storage' offset='512' size='1024'/></slices></source>";
    expect(nodesOf(disk('file', source)).at(-1)).toMatchObject({ driver: 'raw', offset: 512, size: 1024 });
    const nodes = nodesOf(disk('file', source, { driver: "<driver type='qcow2'/>" }));
    expect(nodes.map((node) => node['node-name'])).toEqual([
      'libvirt-1-storage',
      'libvirt-1-slice-sto',
      'libvirt-1-format',
    ]);
    expect(nodes.at(-1)).toMatchObject({ file: 'libvirt-1-slice-sto' });
    expect(nodes.at(-1)?.['offset']).toBeUndefined();
  });

  it('shows directories read-only', () => {
    const xml = disk('dir', "<source dir='/d'/>", { driver: "<driver type='fat'/>", rest: '<readonly/>' });
    expect(nodesOf(xml)[0]).toMatchObject({ driver: 'vvfat', dir: '/d', floppy: false, rw: false });
  });

  it('unlocks LUKS with a secret that is not among the arguments', () => {
    const encryption = "<encryption format='luks'><secret type='passphrase' usage='topsecret'/></encryption>";
    const { args, context, faults } = bench(disk('file', `<source file='/a'>${encryption}</source>`));
    expect(faults).toEqual([]);
    expect(args.join(' ')).not.toContain('topsecret');
    expect(args[0]).toContain('"id":"libvirt-1-format-encryption-secret0","keyid":"masterKey0"');
    expect(args.at(-2)).toContain('"driver":"luks","key-secret":"libvirt-1-format-encryption-secret0"');
    expect(context.fds).toMatchObject([{ kind: 'secret', secret: { type: 'volume', usage: 'topsecret' } }]);
  });

  it('opens vhost-vdpa devices through a set of descriptors', () => {
    const { args, context } = bench(disk('vhostvdpa', "<source dev='/dev/vhost-vdpa-0'/>"));
    expect(args[0]).toBe('-add-fd set=0,fd=3,opaque=libvirt-1-storage-vdpa');
    expect(args[1]).toContain('"driver":"virtio-blk-vhost-vdpa","path":"/dev/fdset/0"');
    expect(context.fds).toEqual([{ kind: 'file', path: '/dev/vhost-vdpa-0', flags: 'r+' }]);
  });

  it('asks a helper for reservations, one for all managed disks', () => {
    const lun = (dev: string) =>
      `<disk type='block' device='lun'><source dev='/dev/${dev}'><reservations managed='yes'/></source><target dev='${dev}' bus='scsi'/></disk>`;
    const { parts, context } = bench(lun('sda') + lun('sdb'));
    expect(parts.filter((part) => part.kind === 'object')).toHaveLength(1);
    expect(context.helpers.map(({ name }) => name)).toEqual(['pr-helper0']);
  });

  it('resolves volumes, and says which one is missing', () => {
    const xml = disk('volume', "<source pool='p' volume='v'/>", { driver: '' });
    const lookup = { volume: () => ({ type: 'block', path: '/dev/p/v', format: 'raw' }) };
    expect(nodesOf(xml, { lookup })[0]).toMatchObject({ driver: 'host_device', filename: '/dev/p/v' });
    expect(() => bench(xml)).toThrow(/'v' of pool 'p'/);
  });
});

describe('network sources', () => {
  const host = "<host name='h'/>";
  it.each([
    [
      network("protocol='nbd' name='e'", host),
      { driver: 'nbd', server: { type: 'inet', host: 'h', port: '10809' }, export: 'e' },
    ],
    [
      network("protocol='nbd'", "<host transport='unix' socket='/s'/>"),
      { driver: 'nbd', server: { type: 'unix', path: '/s' } },
    ],
    [
      network("protocol='iscsi' name='iqn.x:y/2'", host),
      { driver: 'iscsi', portal: 'h:3260', target: 'iqn.x:y', lun: 2 },
    ],
    [network("protocol='iscsi' name='iqn.x:y'", "<host name='::1' port='1'/>"), { portal: '[::1]:1', lun: 0 }],
    [
      network("protocol='gluster' name='v/p/q'", host),
      { driver: 'gluster', volume: 'v', path: 'p/q', server: [{ type: 'inet', host: 'h', port: '24007' }] },
    ],
    [
      network("protocol='rbd' name='p/i'", "<host name='h' port='6789'/><snapshot name='s'/><config file='/c'/>"),
      { driver: 'rbd', pool: 'p', image: 'i', snapshot: 's', conf: '/c', server: [{ host: 'h', port: '6789' }] },
    ],
    [network("protocol='ftp' name='/a b?c'", host), { driver: 'ftp', url: 'ftp://h:21/a%20b%3Fc' }],
    [
      network("protocol='https' name='a' query='x=y'", `${host}<ssl verify='no'/><timeout seconds='5'/>`),
      { url: 'https://h:443/a?x=y', sslverify: false, timeout: 5 },
    ],
    [
      network("protocol='ssh' name='/i'", "<host name='h'/><identity username='u'/>"),
      { driver: 'ssh', path: '/i', user: 'u' },
    ],
    [
      network("protocol='nfs' name='/i'", `${host}<identity user='+5' group='6'/>`),
      { driver: 'nfs', server: { host: 'h', type: 'inet' }, user: 5, group: 6 },
    ],
  ])('%s', (xml, expected) => expect(nodesOf(xml)[0]).toMatchObject(expected));

  it('keeps cookies and passwords off the command line', () => {
    const xml = network(
      "protocol='http' name='a'",
      `${host}<cookies><cookie name='n'>hidden</cookie></cookies><auth username='u'><secret type='iscsi' usage='x'/></auth>`,
    );
    const { args, context } = bench(xml);
    expect(args.join(' ')).not.toContain('hidden');
    expect(context.fds).toMatchObject([{ secret: { usage: 'x' } }, { secret: { value: 'n=hidden' } }]);
    expect(args.at(-2)).toContain('"cookie-secret":"libvirt-1-storage-httpcookie-secret0"');
  });

  it('nests the keys of layered RBD encryption', () => {
    const secret = (usage: string) => `<secret type='passphrase' usage='${usage}'/>`;
    const encryption = `<encryption format='luks2' engine='librbd'>${secret('a')}${secret('b')}</encryption>`;
    expect(nodesOf(network("protocol='rbd' name='p/i'", `${host}${encryption}`))[0]).toMatchObject({
      encrypt: {
        format: 'luks2',
        'key-secret': 'libvirt-1-storage-encryption-secret0',
        parent: { format: 'luks2', 'key-secret': 'libvirt-1-storage-encryption-secret1' },
      },
    });
  });

  it('shows NBD servers our certificate', () => {
    const { args } = bench(network("protocol='nbd' tls='yes' tlsHostname='t'", host), {
      config: { nbdTlsX509CertDir: '/certs' },
    });
    expect(args[0]).toContain(
      '"qom-type":"tls-creds-x509","id":"objlibvirt-1-storage_tls0","dir":"/certs","endpoint":"client"',
    );
    expect(args[1]).toContain('"tls-creds":"objlibvirt-1-storage_tls0","tls-hostname":"t"');
  });

  const luks = "<encryption format='luks'><secret type='passphrase' usage='u'/></encryption>";
  it.each([
    ['a protocol that is gone', network("protocol='sheepdog' name='x'", host)],
    ['no host', network("protocol='iscsi' name='x'", '')],
    ['two hosts', network("protocol='nbd'", host + host)],
    ['no name', network("protocol='ssh'", host)],
    ['RBD without a pool', network("protocol='rbd' name='x'", host)],
    ['a query of FTP', network("protocol='ftp' name='x' query='y'", host)],
    [
      'a cookie twice',
      network(
        "protocol='http' name='x'",
        `${host}<cookies><cookie name='a'>1</cookie><cookie name='a'>2</cookie></cookies>`,
      ),
    ],
    [
      'a cookie that holds two',
      network("protocol='http' name='x'", `${host}<cookies><cookie name='a'>1; b=2</cookie></cookies>`),
    ],
    [
      "another protocol's secret",
      network("protocol='rbd' name='p/i'", `${host}<auth username='u'><secret type='iscsi' usage='x'/></auth>`),
    ],
    ['encryption of vmdk', disk('file', `<source file='/a'>${luks}</source>`, { driver: "<driver type='vmdk'/>" })],
    ['encryption twice', disk('file', `<source file='/a'>${luks}</source>`, { rest: luks })],
    [
      'a cipher',
      disk(
        'file',
        "<source file='/a'><encryption format='luks'><secret type='passphrase' usage='u'/><cipher name='aes' size='256'/></encryption></source>",
      ),
    ],
    [
      'librbd elsewhere',
      disk(
        'file',
        "<source file='/a'><encryption format='luks' engine='librbd'><secret type='passphrase' usage='u'/></encryption></source>",
      ),
    ],
    ['an unreadable format', disk('file', "<source file='/a'/>", { driver: "<driver type='cow'/>" })],
    [
      'a backing image without format',
      disk('file', "<source file='/a'/>", {
        driver: "<driver type='qcow2'/>",
        rest: "<backingStore type='file'><source file='/b'/></backingStore>",
      }),
    ],
    ['a network drive without a protocol', "<disk type='network' device='cdrom'><target dev='sda' bus='sata'/></disk>"],
    [
      'a password of SSH',
      network("protocol='ssh' name='x'", `${host}<auth username='u'><secret type='iscsi' usage='x'/></auth>`),
    ],
    ['a writable directory', disk('dir', "<source dir='/d'/>", { driver: "<driver type='fat'/>" })],
  ])('refuses %s', (_name, xml) => expect(firstFaults(xml)).toBe(1));

  /** Number of faults; some of the refused definitions cannot be planned at all. */
  function firstFaults(xml: string): number {
    const family = { ...DISK, plan: () => [] };
    return bench(xml, { families: [family] }).faults.length;
  }
});
