import { describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { planContainerCgroup } from './container-cgroup.ts';

const FACTS = {
  pidMax: 4_194_304,
  threadsMax: 20_000,
  deviceOf: (path: string) => (path === '/dev/sdb' ? ({ type: 'b', major: 8, minor: 16 } as const) : undefined),
};

function plan(content: string, facts: Partial<typeof FACTS> = {}) {
  const { domain } = parseDomain(`<domain type='lxc'><name>x</name>${content}</domain>`);
  return planContainerCgroup(domain, { ...FACTS, ...facts });
}
const SHELL = '<os><type>exe</type><init>/bin/sh</init></os>';

describe('planContainerCgroup', () => {
  it('limits processes and device nodes, whatever the definition says', () => {
    const { tuning, notes } = plan('');
    expect(Object.keys(tuning)).toEqual(['devices', 'pids']);
    expect(tuning.pids).toEqual({ max: 3000 });
    expect(notes).toEqual([]);
    expect(plan('', { pidMax: 1000 }).tuning.pids).toEqual({ max: 512 });
    expect(tuning.devices).toContainEqual({ allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' });
    expect(tuning.devices?.some(({ type }) => type === 'b')).toBe(false);
  });

  it('takes over what the definition says, in its units', () => {
    const { tuning } = plan(
      `<memory unit='MiB'>256</memory>
       <vcpu cpuset='0-1'>2</vcpu>
       <memtune><soft_limit unit='MiB'>128</soft_limit><swap_hard_limit unit='MiB'>512</swap_hard_limit></memtune>
       <blkiotune><weight>200</weight><device><path>/dev/sdb</path><read_bytes_sec>1000</read_bytes_sec></device></blkiotune>
       <cputune><shares>512</shares><period>50000</period><quota>25000</quota></cputune>
       <numatune><memory mode='strict' nodeset='0'/></numatune>${SHELL}`,
    );
    expect(tuning).toMatchObject({
      cpu: { shares: 512, periodUs: 50_000, quotaUs: 25_000 },
      cpuset: { cpus: [0, 1], mems: [0] },
      memory: { hardLimitKiB: 262_144, softLimitKiB: 131_072, swapHardLimitKiB: 524_288 },
      blkio: { weight: 200, devices: [{ path: '/dev/sdb', readBytesSec: 1000 }] },
    });
    expect(tuning.blkio?.devices?.[0]).not.toHaveProperty('weight');
  });

  it.each([
    ['', undefined, 0],
    [`<memory unit='KiB'>65536</memory>${SHELL}`, 65_536, 0],
    // A converter has filled it in; a whole system does not start with it.
    ["<memory unit='KiB'>65536</memory>", undefined, 1],
    ["<memory unit='KiB'>65536</memory><memtune><hard_limit unit='KiB'>65536</hard_limit></memtune>", 65_536, 0],
    ["<memory unit='KiB'>16384</memory>", 16_384, 1],
    [`<memory unit='KiB'>1024</memory>${SHELL}`, 1024, 1],
  ])('memory: %s', (content, limit, noteCount) => {
    const { tuning, memoryNotes } = plan(content);
    expect(tuning.memory?.hardLimitKiB).toBe(limit);
    expect(memoryNotes).toHaveLength(noteCount);
  });

  it('nodes that do not bind are told', () => {
    const { tuning, notes } = plan("<numatune><memory mode='preferred' nodeset='0'/></numatune>");
    expect(tuning.cpuset).toBeUndefined();
    expect(notes).toEqual([expect.stringMatching(/mode='strict' has/)]);
  });

  it('allows the devices that are given, and loop devices only to mount images', () => {
    const { devices } = plan(
      `<devices><filesystem type='block'><source dev='/dev/sdb'/><target dir='/x'/><readonly/></filesystem>
       <filesystem type='file'><source file='/i'/><target dir='/i'/></filesystem>
       <hostdev mode='capabilities' type='storage'><source><block>/dev/sdb</block></source></hostdev></devices>`,
    ).tuning;
    const blocks = devices?.filter(({ type }) => type === 'b').map(({ major, access }) => [major, access]);
    expect(blocks).toEqual([
      [8, 'r'],
      [8, 'rwm'],
      [7, 'rw'],
    ]);
    expect(() =>
      plan(
        "<devices><hostdev mode='capabilities' type='misc'><source><char>/dev/no</char></source></hostdev></devices>",
      ),
    ).toThrow(/no device \/dev\/no /);
  });
});
