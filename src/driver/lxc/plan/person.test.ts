import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { planContainerCgroup } from './container-cgroup.ts';
import { impliedIdmap, isAlone, type Person, planPerson, refuseRootsOwn, sameIds, withinPerson } from './person.ts';
import { goesWithoutLimits, withinGroup, withoutGroup } from './person-limits.ts';

const MAPPERS = { uid: '/usr/bin/newuidmap', gid: '/usr/bin/newgidmap' };
const ANN = planPerson({
  uid: 1000,
  gid: 100,
  name: 'ann',
  uids: [
    { first: 100_000, count: 65_536 },
    { first: 300_000, count: 10 },
  ],
  gids: [{ first: 200_000, count: 65_536 }],
  mappers: MAPPERS,
});
const BOB: Person = planPerson({ uid: 7, gid: 8, uids: [{ first: 9, count: 1 }], gids: [{ first: 9, count: 1 }] });

function domainOf(rest: string, devices = '') {
  return parseDomain(
    `<domain type='lxc' xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><name>box</name><memory unit='MiB'>65</memory>
     <os><type>exe</type></os>${rest}<devices>${devices}</devices></domain>`,
  ).domain;
}
const range = (target: number, count: number) => ({ start: 0, target, count });

describe('the namespace around the runtime', () => {
  it('has the user as root, then what /etc/subuid gives', () => {
    expect(ANN.ids).toEqual({
      uids: [
        { start: 0, target: 1000, count: 1 },
        { start: 1, target: 100_000, count: 65_536 },
        { start: 65_537, target: 300_000, count: 10 },
      ],
      gids: [
        { start: 0, target: 100, count: 1 },
        { start: 1, target: 200_000, count: 65_536 },
      ],
    });
    expect(isAlone(ANN)).toBe(false);
  });

  it.each([
    ['without newuidmap', { uids: [{ first: 9, count: 1 }], gids: [{ first: 9, count: 1 }] }],
    ['without groups', { uids: [{ first: 9, count: 1 }], gids: [], mappers: MAPPERS }],
  ])('has the user alone %s', (_, facts) => {
    const person = planPerson({ uid: 7, gid: 8, ...facts });
    expect(isAlone(person)).toBe(true);
    expect(person.ids).toEqual({ uids: [range(7, 1)], gids: [range(8, 1)] });
  });

  it('never splits what is mapped in it, as the kernel takes no such range', () => {
    for (const ranges of [sameIds(ANN).uids, sameIds(ANN).gids]) {
      for (const { start, target } of ranges) expect(target).toBe(start);
    }
    expect(sameIds(ANN).uids.map(({ count }) => count)).toEqual([1, 65_536, 10]);
  });
});

describe('<idmap> of a user', () => {
  it('is told in the numbers of that namespace', () => {
    const idmap = {
      uids: [range(100_010, 100), { start: 100, target: 1000, count: 1 }],
      gids: [range(200_000, 65_536)],
    };
    expect(withinPerson(idmap, ANN)).toEqual({
      uids: [range(11, 100), { start: 100, target: 0, count: 1 }],
      gids: [range(1, 65_536)],
    });
  });

  it.each([
    [
      ANN,
      range(165_535, 2),
      /uids 165535-165536 of the host, user ann may use 1000, 100000-165535, 300000-300009; .*usermod --add-subuids 165535-165536 ann/,
    ],
    [ANN, range(0, 1), /uids 0 of the host/],
    [BOB, range(9, 1), /user 7 may use 7; install uidmap, and as root: usermod/],
  ])('is refused for others', (person, uids, message) => {
    expect(() => withinPerson({ uids: [uids], gids: [] }, person)).toThrow(message);
  });

  it('leads to the ids that were meant, whatever they are', () => {
    fc.assert(
      fc.property(fc.nat(70_000), fc.integer({ min: 1, max: 70_000 }), (offset, count) => {
        const asked = range(100_000 + offset, count);
        let planned: number | undefined;
        try {
          planned = withinPerson({ uids: [asked], gids: [] }, ANN).uids[0]?.target;
        } catch {
          expect(offset + count).toBeGreaterThan(65_536);
          return;
        }
        const own = ANN.ids.uids[1];
        expect((own?.target ?? 0) + (planned ?? 0) - (own?.start ?? 0)).toBe(asked.target);
      }),
    );
  });

  it('is implied by a root that belongs to a subordinate user', () => {
    expect(impliedIdmap({ uid: 100_000, gid: 200_001 }, ANN)).toEqual({
      uids: [range(100_000, 65_536)],
      gids: [range(200_001, 65_535)],
    });
    expect(impliedIdmap({ uid: 1000, gid: 100 }, ANN)).toBeUndefined();
    expect(impliedIdmap({ uid: 0, gid: 0 }, ANN)).toBeUndefined();
    expect(impliedIdmap({ uid: 100_000, gid: 100 }, ANN)).toBeUndefined();
  });
});

describe('what is root’s', () => {
  it.each([
    ["<filesystem type='block'><source dev='/dev/sdb'/><target dir='/mnt'/></filesystem>", /'block'> on \/mnt.*root's/],
    [
      "<filesystem type='file'><source file='/x.img'/><target dir='/mnt'/></filesystem>",
      /put its files into a directory and use type='mount', or use sudo/,
    ],
    ["<interface type='ethernet'/>", /type='ethernet'> is root's.*user ann: use <interface type='user'>/],
    ["<hostdev mode='capabilities' type='net'><source><interface>e</interface></source></hostdev>", /type='net'>/],
  ])('%s is refused', (devices, message) => {
    expect(() => refuseRootsOwn(domainOf('', devices), ANN)).toThrow(message);
  });

  it.each([
    ['<memoryBacking><hugepages/></memoryBacking>', /<hugepages> is root's/],
    ["<lxc:namespace><lxc:sharenet type='name' value='a'/></lxc:namespace>", /<lxc:sharenet>.*root's/],
  ])('%s is refused', (rest, message) => {
    expect(() => refuseRootsOwn(domainOf(rest), ANN)).toThrow(message);
  });

  it('nodes and folders are not', () => {
    const devices =
      "<filesystem type='mount'><source dir='/'/><target dir='/'/></filesystem><interface type='user'/>" +
      "<hostdev mode='capabilities' type='misc'><source><char>/dev/fuse</char></source></hostdev>";
    expect(() => refuseRootsOwn(domainOf('', devices), ANN)).not.toThrow();
  });
});

describe('limits', () => {
  const plan = (rest: string) =>
    planContainerCgroup(domainOf(rest), {
      deviceOf: () => undefined,
      pidMax: 1000,
      threadsMax: 1000,
    });

  it('that nobody asked for are left out where there is no group, and that is told', () => {
    expect(goesWithoutLimits(domainOf(''))).toBe(true);
    expect(withoutGroup(domainOf(''), ANN, plan(''))).toEqual({
      tuning: {},
      notes: ['memory and processes are not limited: this user may make no cgroup here'],
      memoryNotes: [],
    });
  });

  it.each([
    [
      "<memtune><hard_limit unit='KiB'>65536</hard_limit></memtune>",
      /^unsupported configuration: <memtune>: limits are kept/,
    ],
    ['<cputune><shares>5</shares></cputune><blkiotune><weight>500</weight></blkiotune>', /<cputune>, <blkiotune>: /],
    ['<resource><partition>/a</partition></resource>', /<resource>: .*systemd-run --user --scope.*use sudo/],
  ])('%s is refused without a group', (rest, message) => {
    expect(goesWithoutLimits(domainOf(rest))).toBe(false);
    expect(() => withoutGroup(domainOf(rest), ANN, plan(rest))).toThrow(message);
  });

  it('hold in a group of the user’s own; rules for nodes are root’s, and not needed', () => {
    const { tuning } = withinGroup(plan(''));
    expect(Object.keys(tuning).sort()).toEqual(['memory', 'pids']);
  });
});
