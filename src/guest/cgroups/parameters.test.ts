import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Domain, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import {
  blkioParametersOf,
  MEMORY_UNLIMITED_KIB,
  memoryParametersOf,
  schedulerParametersOf,
  setBlkioParameters,
  setMemoryParameters,
  setSchedulerParameters,
} from './parameters.ts';

const domain = (elements = ''): Domain =>
  parseDomain(`<domain type='qemu'><name>x</name><memory>1024</memory>${elements}<os><type>hvm</type></os></domain>`)
    .domain;

describe("libvirt's parameters", () => {
  it('of memory are set, lifted, and written to the definition', () => {
    const guest = domain();
    setMemoryParameters(guest, { hard_limit: 4096, swap_hard_limit: 8192n });
    expect(formatDomain(guest)).toMatch(
      /<hard_limit unit='KiB'>4096<\/hard_limit>[^]*<swap_hard_limit unit='KiB'>8192</,
    );
    setMemoryParameters(guest, { swap_hard_limit: MEMORY_UNLIMITED_KIB });
    expect(memoryParametersOf(guest)).toEqual({
      hard_limit: 4096,
      soft_limit: MEMORY_UNLIMITED_KIB,
      swap_hard_limit: MEMORY_UNLIMITED_KIB,
    });
    expect(() => setMemoryParameters(guest, { swap_hard_limit: 1 })).toThrow(/cannot be below hard_limit/);
  });

  it('of the scheduler go to their elements, 0 takes them away', () => {
    const guest = domain('<cputune><shares>5</shares></cputune>');
    setSchedulerParameters(guest, { cpu_shares: 0, vcpu_quota: -1, global_period: 5000, iothread_quota: 7000 });
    expect(guest.cputune).toMatchObject({ quota: -1, globalPeriod: 5000, iothreadQuota: 7000 });
    expect(schedulerParametersOf(guest)).toMatchObject({
      cpu_shares: 0,
      vcpu_quota: -1,
      global_period: 5000,
      emulator_quota: 0,
    });
    expect(() => setSchedulerParameters(guest, { vcpu_quota: 999 })).toThrow(/1000 to/);
    expect(() => setSchedulerParameters(guest, { cpu_shares: 'many' })).toThrow(/whole number/);
  });

  it('of block I/O are lists of paths and values, read as they are written', () => {
    const value = fc.integer({ min: 1, max: 2 ** 31 });
    const device = fc.record({ path: fc.stringMatching(/^\/dev\/[a-z]{1,5}$/), value });
    fc.assert(
      fc.property(fc.uniqueArray(device, { selector: ({ path }) => path, maxLength: 4 }), (devices) => {
        const text = devices.map((entry) => `${entry.path},${entry.value}`).join(',');
        const guest = domain();
        setBlkioParameters(guest, { weight: 300, device_read_bytes_sec: text });
        expect(blkioParametersOf(guest)).toMatchObject({ weight: 300, device_read_bytes_sec: text, device_weight: '' });
        setBlkioParameters(guest, {
          weight: 0,
          device_read_bytes_sec: devices.map(({ path }) => `${path},0`).join(','),
        });
        expect(guest.blkiotune).toEqual({ devices: [] });
      }),
    );
    expect(() => setBlkioParameters(domain(), { device_weight: '/dev/sda' })).toThrow(/PATH,VALUE/);
    expect(() => setBlkioParameters(domain(), { wait: 1 })).toThrow(/no blkio parameter 'wait'/);
  });
});
