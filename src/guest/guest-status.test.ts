import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DomainState, StateReason } from '../driver/domain-state.ts';
import { formatDomain, parseDomain } from '../model/domain/domain.ts';
import { formatStatus, type GuestStatus, parseStatus, readStatuses } from './guest-status.ts';

const XML = `<domain type='qemu' id='3'>
  <name>a &amp; b</name>
  <uuid>11111111-1111-4111-8111-111111111111</uuid>
  <memory unit='KiB'>65536</memory>
</domain>
`;

describe('the status of a running guest', () => {
  let dir: string;
  let path: string;
  const status: GuestStatus = {
    id: 3,
    shortName: '3-a',
    process: { pid: 4711, startTime: '99' },
    extra: { monitor: '/run/x/monitor.sock' },
    domain: parseDomain(XML).domain,
    transient: true,
    autodestroy: false,
    state: { state: DomainState.PAUSED, reason: StateReason.paused.USER },
  };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'status-'));
    path = join(dir, '3-a.json');
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('comes back as it was', () => {
    writeFileSync(path, formatStatus(status));
    const { found, problems } = readStatuses([path]);
    expect(problems).toEqual([]);
    expect(found).toHaveLength(1);
    expect({ ...found[0], domain: undefined }).toEqual({ ...status, domain: undefined });
    expect(found.map(({ domain }) => formatDomain(domain))).toEqual([formatDomain(status.domain)]);
  });

  it('tells what the guest was about to be, where a device was on its way', () => {
    const plugging = parseDomain("<domain type='qemu'><name>next</name></domain>").domain;
    writeFileSync(path, formatStatus({ ...status, plugging }));
    expect(readStatuses([path]).found[0]?.plugging?.name).toBe('next');
  });

  it('names no process of now when it is of an earlier boot', () => {
    const raw: unknown = JSON.parse(formatStatus(status));
    const earlier = JSON.stringify({ ...(typeof raw === 'object' ? raw : {}), boot: 'another' });
    expect(parseStatus(earlier, path).process).toEqual({ pid: 4711, startTime: '' });
  });

  it('that cannot be read is told, and keeps no other from being read', () => {
    writeFileSync(path, formatStatus(status));
    writeFileSync(join(dir, '4-cut.json'), readFileSync(path, 'utf8').slice(0, 50));
    writeFileSync(join(dir, '5-newer.json'), readFileSync(path, 'utf8').replace('"version":1', '"version":2'));
    writeFileSync(join(dir, '6-less.json'), readFileSync(path, 'utf8').replace('"pid":4711', '"pid":"x"'));
    const { found, problems } = readStatuses(readdirSync(dir).map((name) => join(dir, name)));
    expect(found.map(({ id }) => id)).toEqual([3]);
    expect(problems).toEqual([
      expect.stringContaining('4-cut.json cannot be read'),
      expect.stringContaining('it has version 2, not 1'),
      expect.stringContaining('members are missing'),
    ]);
  });
});
