import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Connection, connect, DomainState, ErrorCode, StateReason } from '../../index.ts';

const WELL_KNOWN = '6695eb01-f6a4-8304-79aa-97f2502e193f';
const xmlOf = (name: string, more = ''): string =>
  `<domain type='test'><name>${name}</name>${more}<memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>`;

describe('test:///default', () => {
  let connection: Connection;
  beforeEach(async () => {
    connection = await connect('test:///default');
  });
  afterEach(() => connection.close());

  it('begins with the domain that libvirt has there, and is of this connection alone', async () => {
    expect(connection.type).toBe('TEST');
    const [domain, ...others] = await connection.listAllDomains();
    expect(others).toEqual([]);
    expect(domain).toMatchObject({ name: 'test', uuid: WELL_KNOWN });
    expect(await domain?.info()).toEqual({
      state: DomainState.RUNNING,
      maxMemoryKiB: 8_388_608,
      memoryKiB: 2_097_152,
      vcpus: 2,
      cpuTimeNs: 0n,
    });
    await domain?.destroy();
    await using second = await connect('test:///default');
    expect(await (await second.lookupDomainByName('test')).isActive()).toBe(true);
    expect(await (await connection.lookupDomainByUUID(WELL_KNOWN)).isActive()).toBe(false);
  });

  it('domains live as they are told, and tell it', async () => {
    const told: string[] = [];
    const telling = follow(connection, told);
    const domain = await connection.defineDomain(xmlOf('one'));
    expect(await domain.isPersistent()).toBe(true);
    await domain.create({ paused: true });
    expect(await domain.state()).toEqual({ state: DomainState.PAUSED, reason: StateReason.paused.STARTING_UP });
    await domain.resume();
    await expect(domain.resume()).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
    await domain.suspend();
    await expect(domain.shutdown()).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
    await domain.resume();
    const stopped = domain.waitForStop();
    await domain.shutdown();
    expect(await stopped).toMatchObject({ detail: 'shutdown' });
    expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SHUTDOWN });
    await domain.undefine();
    await expect(connection.lookupDomainByName('one')).rejects.toMatchObject({ code: ErrorCode.NO_DOMAIN });
    await connection.close();
    await telling;
    expect(told).toEqual([
      'defined added',
      'started booted',
      'suspended paused',
      'resumed unpaused',
      'suspended paused',
      'resumed unpaused',
      'stopped shutdown',
      'undefined removed',
    ]);
  });

  it('a transient domain goes with its guest, a running one that is undefined becomes transient', async () => {
    const transient = await connection.createDomain(xmlOf('gone'));
    expect(await transient.isPersistent()).toBe(false);
    await transient.destroy();
    await expect(transient.info()).rejects.toMatchObject({ code: ErrorCode.NO_DOMAIN });
    const test = await connection.lookupDomainByName('test');
    await test.undefine();
    expect([await test.isPersistent(), await test.isActive()]).toEqual([false, true]);
  });

  it('keeps names and UUIDs apart, and refuses what the state forbids', async () => {
    const one = await connection.defineDomain(xmlOf('one'));
    await expect(connection.defineDomain(xmlOf('test', `<uuid>${one.uuid}</uuid>`))).rejects.toMatchObject({
      code: ErrorCode.OPERATION_FAILED,
    });
    await expect(one.rename('test')).rejects.toThrow(/already exists/);
    await one.rename('two');
    expect(await one.xmlDesc()).toContain('<name>two</name>');
    for (const call of [one.destroy(), one.suspend(), one.reboot(), one.shutdown()]) {
      await expect(call).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
    }
    await one.create();
    await expect(one.create()).rejects.toThrow(/already running/);
    await expect(connection.defineDomain(xmlOf('x').replace("'test'", "'kvm'"))).rejects.toMatchObject({
      code: ErrorCode.CONFIG_UNSUPPORTED,
    });
    await expect(one.managedSave()).rejects.toMatchObject({ code: ErrorCode.NO_SUPPORT });
  });

  it('begins with the domains of a file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nt-test-'));
    try {
      const file = join(folder, 'node.xml');
      writeFileSync(file, `<node>${xmlOf('one')}${xmlOf('two')}</node>`);
      await using other = await connect(`test://${file}`);
      expect((await other.listAllDomains({ active: true })).map(({ name }) => name)).toEqual(['one', 'two']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

async function follow(connection: Connection, told: string[]): Promise<void> {
  for await (const event of connection.events()) {
    if (event.event === 'lifecycle') told.push(`${event.type} ${event.detail}`);
  }
}
