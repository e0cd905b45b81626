import { expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { dropMissingMedia } from './missing-media.ts';

function disk(device: string, target: string, file: string, policy?: string): string {
  const startup = policy === undefined ? '' : ` startupPolicy='${policy}'`;
  return `<disk type='file' device='${device}'><source file='${file}'${startup}/><target dev='${target}'/><alias name='${target}-alias'/></disk>`;
}

const DISKS = [
  disk('cdrom', 'sda', '/gone.iso', 'optional'),
  disk('disk', 'vda', '/gone.img', 'optional'),
  disk('disk', 'vdb', '/there.img', 'optional'),
  disk('cdrom', 'sdb', '/gone2.iso', 'requisite'),
  disk('cdrom', 'sdc', '/gone3.iso', 'mandatory'),
  disk('disk', 'vdc', '/gone3.img'),
];

function drop(isRestored: boolean) {
  const { domain } = parseDomain(`<domain type='qemu'><name>a</name><devices>${DISKS.join('')}</devices></domain>`);
  const events = dropMissingMedia(domain, { isRestored, isThere: (path) => path.startsWith('/there') });
  return { events, left: domain.devices?.disks.map(({ target, source }) => [target?.dev, source?.file]) };
}

const CDROM = { event: 'disk-change', device: 'sda-alias', oldSource: '/gone.iso', newSource: undefined } as const;
const DISK = { event: 'disk-change', device: 'vda-alias', oldSource: '/gone.img', newSource: undefined } as const;

it('empties drives and takes out disks whose image may be missing, and tells of each', () => {
  const { events, left } = drop(false);
  expect(events).toEqual([
    { ...CDROM, reason: 'missing-on-start' },
    { ...DISK, reason: 'drop-missing-on-start' },
  ]);
  expect(left).toEqual([
    ['sda', undefined],
    ['vdb', '/there.img'],
    ['sdb', '/gone2.iso'],
    ['sdc', '/gone3.iso'],
    ['vdc', '/gone3.img'],
  ]);
});

it('lets a restored guest do without media that a fresh start needs', () => {
  const { events, left } = drop(true);
  expect(events).toContainEqual({ ...CDROM, device: 'sdb-alias', oldSource: '/gone2.iso', reason: 'missing-on-start' });
  expect(left).toContainEqual(['sdb', undefined]);
  expect(left).toContainEqual(['sdc', '/gone3.iso']);
});
