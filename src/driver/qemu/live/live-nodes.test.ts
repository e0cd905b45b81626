import { describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { Part } from '../plan/parts.ts';
import { keepNodeIndexes } from './live-nodes.ts';
import { addedParts, mixedUpParts, removedParts } from './part-diff.ts';

const disk = (alias: string, file: string, index?: number): string =>
  `<disk type='file'><source file='${file}'${index === undefined ? '' : ` index='${index}'`}/><target dev='${alias}'/><alias name='${alias}'/></disk>`;
const domainOf = (...devices: string[]): Domain =>
  parseDomain(`<domain type='qemu'><devices>${devices.join('')}</devices></domain>`).domain;
const indexesOf = ({ devices }: Domain): unknown[] => (devices?.disks ?? []).map(({ source }) => source?.index);

describe('keepNodeIndexes', () => {
  it('leaves every disk its number, wherever a new one is put', () => {
    const live = domainOf(disk('vda', '/a', 2), disk('vdc', '/c', 1));
    const next = domainOf(disk('vda', '/a'), disk('vdb', '/b'), disk('vdc', '/c'));
    keepNodeIndexes(live, next);
    expect(indexesOf(next)).toEqual([2, 3, 1]);
  });

  it('gives another medium a number of its own', () => {
    const live = domainOf(disk('sda', '/old', 4));
    const next = domainOf(disk('sda', '/new'));
    keepNodeIndexes(live, next);
    expect(indexesOf(next)).toEqual([5]);
  });

  it('stays clear of the nodes of host devices', () => {
    const hostdev =
      "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source></hostdev>";
    const live = domainOf(disk('vda', '/a', 1), hostdev);
    const next = cloneDefinition(live);
    next.devices?.disks.push(...(domainOf(disk('vdb', '/b')).devices?.disks ?? []));
    keepNodeIndexes(live, next);
    expect(indexesOf(next)).toEqual([1, 3]);
  });
});

describe('the difference of two plans', () => {
  const plan = (...parts: Part[]): LaunchPlan => ({ parts }) as Partial<LaunchPlan> as LaunchPlan;
  const node = (name: string, filename: string): Part => ({
    kind: 'blockdev',
    props: { driver: 'file', 'node-name': name, filename },
  });
  const drive = (id: string, of: string): Part => ({
    kind: 'device',
    props: { driver: 'virtio-blk-pci', id, drive: of },
  });

  it('is added in order and removed the other way round', () => {
    const [before, after] = [plan(node('n1', '/a')), plan(node('n1', '/a'), node('n2', '/b'), drive('d', 'n2'))];
    expect(addedParts(before, after).map(({ add }) => add.command)).toEqual(['blockdev-add', 'device_add']);
    expect(removedParts(after, before).map(({ remove }) => remove?.command)).toEqual(['device_del', 'blockdev-del']);
    expect(mixedUpParts(before, after)).toEqual([]);
  });

  it('is refused where names are given to other images', () => {
    const before = plan(node('n1', '/a'), drive('d', 'n1'));
    expect(mixedUpParts(before, plan(node('n1', '/b'), drive('d', 'n1')))).toEqual(['blockdev/n1']);
    expect(mixedUpParts(before, plan(node('n1', '/a'), node('n2', '/b'), drive('d', 'n2')))).toEqual(['device/d']);
  });

  it('does not look at the numbers of descriptors', () => {
    expect(mixedUpParts(plan(node('n1', '/dev/fdset/1')), plan(node('n1', '/dev/fdset/2')))).toEqual([]);
  });
});
