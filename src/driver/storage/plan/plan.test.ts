/** Command lines of all tools, also of those that are not installed, and what is read of their output. */
import { describe, expect, it } from 'vitest';
import type { Encryption } from '../../../model/domain/devices/encryption.ts';
import { parsePool } from '../../../model/storage/pool.ts';
import { parseVolumeRequest } from '../../../model/storage/volume.ts';
import type { Command } from './command.ts';
import { mountSource, planMakeFileSystem, planMount, planUnmount } from './file-system.ts';
import {
  parseGroup,
  parseGroups,
  parseLogicalVolumes,
  planActivateGroup,
  planBuildGroup,
  planCreateLogical,
  planRemoveGroup,
  planResizeLogical,
} from './lvm.ts';
import { parseTable, partitionPath, placePartition, planMakePartition, planMakeTable } from './parted.ts';
import { type ImageRequest, planConvert, planCreate, planResize } from './qemu-img.ts';
import { parseZpool, parseZvols, planBuildZpool, planCreateZvol, planReadZpool } from './zfs.ts';

const line = ({ program, args }: Command): string => [program, ...args].join(' ');
const poolOf = (type: string, source: string, rest = '<target><path>/t</path></target>') =>
  parsePool(`<pool type='${type}'><name>p</name><source>${source}</source>${rest}</pool>`);
const volumeOf = (rest: string, type: 'dir' | 'logical' | 'zfs' = 'logical') =>
  parseVolumeRequest(`<volume><name>v</name><capacity unit='MiB'>1</capacity>${rest}</volume>`, type);

describe('qemu-img', () => {
  const luks: Encryption = { format: 'luks', secrets: [], cipher: { name: 'aes', size: 256, mode: 'cbc' } };
  const passphrase = { path: '/run/a,b' };

  it.each<[Omit<ImageRequest, 'path' | 'capacity'>, string]>([
    [{ format: 'vmdk', target: {} }, 'qemu-img create -f vmdk /v 1K'],
    [{ format: 'qcow2', target: {} }, 'qemu-img create -f qcow2 -o compat=0.10 /v 1K'],
    [
      {
        format: 'qcow2',
        target: {
          compat: '1.1',
          clusterSize: 65_536n,
          nocow: true,
          features: { lazyRefcounts: true, extendedL2: true },
        },
        backing: { path: '/b', format: 'raw' },
      },
      'qemu-img create -f qcow2 -b /b -o backing_fmt=raw,nocow=on,compat=1.1,cluster_size=65536,lazy_refcounts=on,extended_l2=on /v 1K',
    ],
    [
      { format: 'qcow2', target: {}, preallocation: 'metadata' },
      'qemu-img create -f qcow2 -o preallocation=metadata,compat=0.10 /v 1K',
    ],
    [
      { format: 'raw', target: { encryption: luks }, passphrase },
      'qemu-img create -f luks --object secret,id=target0,file=/run/a,,b -o key-secret=target0,cipher-alg=aes-256,cipher-mode=cbc /v 1K',
    ],
    [
      { format: 'qcow2', target: { encryption: { format: 'luks', secrets: [] } }, passphrase },
      'qemu-img create -f qcow2 --object secret,id=target0,file=/run/a,,b -o encrypt.format=luks,encrypt.key-secret=target0,compat=0.10 /v 1K',
    ],
  ])('creates %o', (request, expected) => {
    expect(line(planCreate({ path: '/v', capacity: 1000n, ...request }))).toBe(expected);
  });

  it('copies into another format, out of an encrypted volume too', () => {
    const output = { path: '/v', format: 'qcow2', capacity: 1n, target: {} };
    expect(line(planConvert({ path: '/i', format: 'raw' }, output))).toBe(
      'qemu-img convert -f raw -O qcow2 -o compat=0.10 /i /v',
    );
    const input = { path: '/i', format: 'raw', encryption: 'luks', passphrase } as const;
    expect(line(planConvert(input, output))).toBe(
      'qemu-img convert --object secret,id=source0,file=/run/a,,b --image-opts -O qcow2 -o compat=0.10 driver=luks,key-secret=source0,file.driver=file,file.filename=/i /v',
    );
  });

  it('resizes', () => {
    expect(line(planResize({ path: '/i', format: 'qcow2' }, 5n, { shrink: true }))).toBe(
      'qemu-img resize -f qcow2 --shrink /i 5',
    );
  });
});

describe('file systems', () => {
  it.each([
    ['fs', "<device path='/dev/x'/>", 'mount -o nodev,nosuid,noexec /dev/x /t'],
    ['fs', "<device path='/dev/x'/><format type='xfs'/>", 'mount -t xfs -o nodev,nosuid,noexec /dev/x /t'],
    ['netfs', "<host name='h'/><dir path='/d'/>", 'mount -t nfs -o nodev,nosuid,noexec h:/d /t'],
    [
      'netfs',
      "<host name='::1'/><dir path='/d'/><format type='nfs'/><protocol ver='4'/>",
      'mount -t nfs -o nfsvers=4,nodev,nosuid,noexec [::1]:/d /t',
    ],
    [
      'netfs',
      "<host name='h'/><dir path='/d'/><format type='cifs'/>",
      'mount -t cifs -o guest,nodev,nosuid,noexec //h/d /t',
    ],
    [
      'netfs',
      "<host name='h'/><dir path='d'/><format type='glusterfs'/>",
      'mount -t glusterfs -o direct-io-mode=1,nodev,nosuid,noexec h:/d /t',
    ],
  ])('%s %s', (type, source, expected) => {
    expect(line(planMount(poolOf(type, source)))).toBe(expected);
  });

  it('take more options from the definition', () => {
    const rest =
      "<target><path>/t</path></target><fs:mount_opts xmlns:fs='http://libvirt.org/schemas/storagepool/fs/1.0'><fs:option name='sync'/></fs:mount_opts>";
    const pool = poolOf('fs', "<device path='/dev/x'/>", rest);
    expect(line(planMount(pool))).toBe('mount -o nodev,nosuid,noexec,sync /dev/x /t');
    expect(line(planUnmount(pool))).toBe('umount /t');
    expect(mountSource(pool)).toBe('/dev/x');
    expect(line(planMakeFileSystem('/dev/x', 'ext4'))).toBe('mkfs -t ext4 -F /dev/x');
  });
});

describe('LVM', () => {
  const pool = poolOf('logical', "<name>vg</name><device path='/dev/a'/><device path='/dev/b'/>");

  it('makes, starts, stops and removes groups', () => {
    expect(planBuildGroup(pool).map(line)).toEqual([
      'wipefs -a /dev/a',
      'pvcreate -y /dev/a',
      'wipefs -a /dev/b',
      'pvcreate -y /dev/b',
      'vgcreate vg /dev/a /dev/b',
    ]);
    expect(line(planActivateGroup(pool, true))).toBe('vgchange -aly vg');
    expect(line(planActivateGroup(pool, false))).toBe('vgchange -aln vg');
    expect(planRemoveGroup(pool).map(line)).toEqual(['vgremove -f vg', 'pvremove /dev/a', 'pvremove /dev/b']);
  });

  it('makes and resizes volumes', () => {
    expect(line(planCreateLogical(pool, volumeOf('')))).toBe('lvcreate --name v -L 1024K vg');
    expect(line(planCreateLogical(pool, volumeOf('<allocation>0</allocation>')))).toBe(
      'lvcreate --name v -L 1K --type snapshot --virtualsize 1024K vg',
    );
    expect(line(planCreateLogical(pool, volumeOf('<backingStore><path>/dev/vg/b</path></backingStore>')))).toBe(
      'lvcreate --name v -L 1024K -s /dev/vg/b',
    );
    expect(line(planResizeLogical('/dev/vg/v', 2048n, { shrink: true }))).toBe('lvreduce -f -L 2K /dev/vg/v');
  });

  it('reads groups and volumes, segments of one volume together', () => {
    expect(parseGroup('  1000:400\n')).toEqual({ size: 1000n, free: 400n });
    expect(parseGroups('  /dev/a vg\n  /dev/b vg\n  /dev/c\n')).toEqual(new Map([['vg', ['/dev/a', '/dev/b']]]));
    const output = [
      '  root##u1#/dev/a(0)#linear#1#4096#1024#8192#-wi-ao----',
      '  root##u1#/dev/b(3)#linear#1#4096#1024#8192#-wi-ao----',
      '  snap#root#u2#/dev/a(9)#linear#1#1024#1024#8192#swi-a-s---',
      '  pool##u3#pool_tdata(0)#thin-pool#1#1#1#1#twi-a-tz--',
    ].join('\n');
    expect(parseLogicalVolumes(output)).toEqual([
      {
        name: 'root',
        origin: undefined,
        uuid: 'u1',
        size: 8192n,
        active: true,
        extents: [
          { device: '/dev/a', start: 0n, end: 4096n },
          { device: '/dev/b', start: 3072n, end: 7168n },
        ],
      },
      {
        name: 'snap',
        origin: 'root',
        uuid: 'u2',
        size: 8192n,
        active: true,
        extents: [{ device: '/dev/a', start: 9216n, end: 10_240n }],
      },
    ]);
  });
});

describe('parted', () => {
  const OUTPUT = `BYT;
/dev/sdx:104857600B:scsi:512:512:gpt:disk:;
1:17408B:1048575B:1031168B:free;
1:1048576B:11534335B:10485760B:ext4::boot, lvm;
1:11534336B:104840703B:93306368B:free;
`;

  it('reads a table, and finds the smallest place that fits, on whole MiB', () => {
    const table = parseTable(OUTPUT);
    expect(table).toEqual({
      size: 104_857_600n,
      label: 'gpt',
      partitions: [{ number: 1, start: 1_048_576n, end: 11_534_335n, fileSystem: 'ext4', flags: ['boot', 'lvm'] }],
      free: [
        { start: 17_408n, end: 1_048_575n },
        { start: 11_534_336n, end: 104_840_703n },
      ],
    });
    expect(parseTable('Error: unrecognised disk label\n')).toBeUndefined();
    if (table === undefined) return;
    const place = placePartition(table, { capacity: 1000n, format: 'linux' });
    expect(place).toEqual({ kind: 'primary', fileSystem: 'ext2', start: 11_534_336n, end: 11_535_359n });
    expect(placePartition(table, { capacity: 200_000_000n, format: 'none' })).toBeUndefined();
    if (place === undefined) return;
    expect(line(planMakePartition('/dev/sdx', place))).toBe(
      'parted --script /dev/sdx mkpart primary ext2 11534336B 11535359B',
    );
  });

  it('names tables and partitions', () => {
    expect(line(planMakeTable('/dev/x', 'dos'))).toBe('parted --script /dev/x mklabel msdos');
    expect(partitionPath('/dev/sdx', 1)).toBe('/dev/sdx1');
    expect(partitionPath('/dev/nvme0n1', 1)).toBe('/dev/nvme0n1p1');
    expect(partitionPath('/dev/mapper/x', 1, true)).toBe('/dev/mapper/xp1');
  });
});

describe('ZFS', () => {
  const pool = poolOf('zfs', "<name>tank/vms</name><device path='/dev/a'/>");

  it('makes pools and volumes', () => {
    expect(line(planBuildZpool(pool))).toBe('zpool create tank/vms /dev/a');
    expect(line(planReadZpool(pool))).toBe('zpool get -Hp health,size,free,allocated tank');
    expect(line(planCreateZvol(pool, volumeOf('', 'zfs')))).toBe('zfs create -V 1024K tank/vms/v');
    expect(line(planCreateZvol(pool, volumeOf('<allocation>0</allocation>', 'zfs')))).toBe(
      'zfs create -s -V 1024K tank/vms/v',
    );
    expect(line(planCreateZvol(pool, volumeOf('<allocation>2048</allocation>', 'zfs')))).toBe(
      'zfs create -s -o refreservation=2K -V 1024K tank/vms/v',
    );
  });

  it('reads them', () => {
    expect(
      parseZpool('tank\thealth\tONLINE\t-\ntank\tsize\t1000\t-\ntank\tfree\t600\t-\ntank\tallocated\t400\t-\n'),
    ).toEqual({
      size: 1000n,
      free: 600n,
      allocated: 400n,
    });
    expect(parseZpool('')).toBeUndefined();
    expect(parseZvols('tank/vms/a\t1024\tnone\ntank/vms/sub/b\t1\t1\ntank/x\t1\t1\n', pool)).toEqual([
      { name: 'a', size: 1024n, reserved: 0n },
    ]);
  });
});
