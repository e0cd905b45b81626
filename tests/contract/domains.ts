/** The contract of domains: definitions, states, events, the console, saving. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { type DomainEvent, DomainState, ErrorCode, ErrorDomain, StateReason, VirtError } from '../../src/index.ts';
import { greetingOf } from '../support/guests/boot-sectors.ts';
import { pollUntil } from '../support/poll.ts';
import { type ContractTest, expectCode } from './setting.ts';

/** Waits for guests are bounded by the test's own time limit; this one names what was waited for. */
const PATIENCE_MS = 30_000;
const UUID = '7d9f3c52-3b5a-4a52-9d1c-0f4e5a6b7c8d';

export function describeDomains(contract: ContractTest): void {
  contract('says what it is', async ({ connection }) => {
    expect(connection.type).toBe('QEMU');
    expect(await connection.version()).toBeGreaterThan(4_000_000);
    expect(await connection.capabilities()).toMatch(/<capabilities>[^]*<guest>/);
    expect(await connection.domainCapabilities({ arch: 'x86_64', virttype: 'qemu' })).toMatch(/<domainCapabilities>/);
  });

  contract('keeps definitions', async ({ connection, xmlOf }) => {
    const xml = await xmlOf('halt', { uuid: UUID });
    const domain = await connection.defineDomain(xml);
    expect(domain.uuid).toBe(UUID);
    expect((await connection.lookupDomainByName(domain.name)).uuid).toBe(UUID);
    expect((await connection.lookupDomainByUUID(UUID)).name).toBe(domain.name);
    expect(await domain.isPersistent()).toBe(true);
    expect(await domain.isActive()).toBe(false);
    expect(await domain.id()).toBe(-1);
    expect(await domain.xmlDesc()).toContain(`<name>${domain.name}</name>`);
    const names = async (filter: object): Promise<string[]> =>
      (await connection.listAllDomains(filter)).map(({ name }) => name);
    expect(await names({ active: false })).toContain(domain.name);
    expect(await names({ active: true })).not.toContain(domain.name);
    await domain.undefine();
    await expectCode(connection.lookupDomainByUUID(UUID), ErrorCode.NO_DOMAIN);
  });

  contract('redefines under the same UUID and refuses a namesake', async ({ connection, xmlOf }) => {
    const name = `contract-${process.pid}-twin`;
    const domain = await connection.defineDomain(await xmlOf('halt', { name, uuid: UUID, memoryMiB: 64 }));
    await connection.defineDomain(await xmlOf('halt', { name, uuid: UUID, memoryMiB: 80 }));
    expect((await domain.info()).maxMemoryKiB).toBe(80 * 1024);
    const other = UUID.replace('7d9f', '7d90');
    await expectCode(connection.defineDomain(await xmlOf('halt', { name, uuid: other })), ErrorCode.OPERATION_FAILED);
  });

  contract('refuses bad XML', async ({ connection }) => {
    await expectCode(connection.defineDomain('<domain'), ErrorCode.XML_DETAIL);
    await expect(connection.defineDomain("<domain type='qemu'><name>x</name></domain>")).rejects.toBeInstanceOf(
      VirtError,
    );
    await expectCode(connection.lookupDomainByName('there is no such domain'), ErrorCode.NO_DOMAIN);
  });

  contract('marks for autostart and renames', async ({ connection, xmlOf, made }) => {
    const domain = await connection.defineDomain(await xmlOf('halt'));
    expect(await domain.autostart()).toBe(false);
    await domain.setAutostart(true);
    expect(await domain.autostart()).toBe(true);
    const name = `${domain.name}-renamed`;
    made.add(name);
    await domain.setAutostart(false);
    const renamed = await domain.rename(name);
    expect((await connection.lookupDomainByUUID(domain.uuid)).name).toBe(name);
    expect(await renamed.xmlDesc()).toContain(`<name>${name}</name>`);
  });

  contract('starts paused, resumes, pauses, ends', async ({ connection, started }) => {
    const domain = await started('halt', {}, { paused: true });
    expect(await domain.id()).toBeGreaterThan(0);
    expect(await domain.isPersistent()).toBe(false);
    expect((await domain.state()).state).toBe(DomainState.PAUSED);
    await domain.resume();
    expect((await domain.state()).state).toBe(DomainState.RUNNING);
    await domain.suspend();
    expect(await domain.state()).toEqual({ state: DomainState.PAUSED, reason: StateReason.paused.USER });
    await domain.destroy();
    await expectCode(connection.lookupDomainByUUID(domain.uuid), ErrorCode.NO_DOMAIN);
  });

  contract('tells lifecycle events in order', async ({ connection, xmlOf }) => {
    const abort = new AbortController();
    const seen: string[] = [];
    const done = collectLifecycle(connection.events({ signal: abort.signal }), seen);
    const domain = await connection.defineDomain(await xmlOf('halt'));
    await domain.create();
    await domain.suspend();
    await domain.resume();
    await domain.destroy();
    await domain.undefine();
    await pollUntil(() => seen.includes('undefined removed'), 'no event tells that it is undefined');
    abort.abort();
    await done;
    // libvirtd tells of steps in between as well: "resumed" before "started", "shutdown" before "stopped".
    const expected = ['defined added', 'started booted', 'suspended paused', 'stopped destroyed', 'undefined removed'];
    expect(seen.filter((event) => expected.includes(event))).toEqual(expected);
    expect(seen.indexOf('resumed unpaused', seen.indexOf('suspended paused'))).toBeGreaterThan(0);
  });

  contract('notices that a guest powers itself off', async ({ connection, xmlOf }) => {
    const domain = await connection.defineDomain(await xmlOf('poweroff'));
    const seen: string[] = [];
    const abort = new AbortController();
    const done = collectLifecycle(connection.events({ signal: abort.signal }), seen);
    await domain.create();
    await pollUntil(() => seen.includes('stopped shutdown'), 'no event tells that it has shut down');
    abort.abort();
    await done;
    expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SHUTDOWN });
  });

  contract('presses the power button', async ({ started }) => {
    const domain = await started('powerbutton');
    await domain.console().waitFor(`${greetingOf('powerbutton')}\r\n`);
    await domain.shutdown({ signal: AbortSignal.timeout(PATIENCE_MS) });
    await pollUntil(async () => !(await domain.isActive().catch(() => false)), 'it is still active');
  });

  contract('refuses what the state forbids', async ({ connection, xmlOf }) => {
    const domain = await connection.defineDomain(await xmlOf('halt'));
    await expectCode(domain.suspend(), ErrorCode.OPERATION_INVALID);
    const own = connection.type === 'LXC' ? ErrorDomain.LXC : ErrorDomain.QEMU;
    await expect(domain.destroy()).rejects.toMatchObject({ domain: ErrorDomain.DOMAIN });
    await domain.create();
    await expect(domain.create()).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID, domain: own });
    await expectCode(domain.rename(`${domain.name}-x`), ErrorCode.OPERATION_INVALID);
  });

  contract('opens the console both ways', async ({ started, canPause }) => {
    const domain = await started('echo', {}, { paused: canPause });
    const console = domain.console();
    const greeting = console.waitFor(greetingOf('echo'));
    if (canPause) await domain.resume();
    await greeting;
    const heard = console.waitFor('ping pong', { replay: false });
    await console.write('ping pong');
    expect(await heard).toContain('ping pong');
  });

  contract('saves to a file and restores', async ({ connection, scratch, started }) => {
    const path = join(scratch, 'saved.img');
    const domain = await started('echo');
    await domain.save(path);
    expect(await domain.isActive().catch(() => false)).toBe(false);
    expect(await connection.savedXml(path)).toContain(`<name>${domain.name}</name>`);
    const restored = await connection.restore(path);
    expect(restored.uuid).toBe(domain.uuid);
    expect(await restored.state()).toEqual({ state: DomainState.RUNNING, reason: StateReason.running.RESTORED });
  });

  contract('keeps a managed save for the next start', async ({ connection, xmlOf }) => {
    const domain = await connection.defineDomain(await xmlOf('echo'));
    await domain.create();
    await domain.managedSave();
    expect(await domain.state()).toEqual({ state: DomainState.SHUTOFF, reason: StateReason.shutoff.SAVED });
    expect(await domain.hasManagedSave()).toBe(true);
    const names = async (managedSave: boolean): Promise<string[]> =>
      (await connection.listAllDomains({ managedSave })).map(({ name }) => name);
    expect(await names(true)).toEqual([domain.name]);
    expect(await names(false)).not.toContain(domain.name);
    await expectCode(domain.undefine(), ErrorCode.OPERATION_INVALID);
    await domain.create();
    expect((await domain.state()).reason).toBe(StateReason.running.RESTORED);
    expect(await domain.hasManagedSave()).toBe(false);
    expect(await names(true)).toEqual([]);
  });

  contract('warns of a MAC address that two domains have', async ({ connection, xmlOf }) => {
    const card = `<interface type='ethernet'><mac address='52:54:00:aa:bb:cc'/></interface></devices>`;
    const [first, second] = [await xmlOf('halt'), await xmlOf('halt')].map((xml) => xml.replace('</devices>', card));
    const { name } = await connection.defineDomain(first ?? '');
    const abort = new AbortController();
    const warned = firstWarning(connection.events({ signal: abort.signal }));
    const { name: other } = await connection.defineDomain(second ?? '');
    expect(await warned).toMatchObject({
      domain: { name: other },
      message: expect.stringContaining(`52:54:00:aa:bb:cc is also that of domain '${name}'`),
    });
    abort.abort();
  });
}

async function firstWarning(events: AsyncIterable<DomainEvent>): Promise<DomainEvent | undefined> {
  for await (const event of events) if (event.event === 'warning') return event;
  return undefined;
}

async function collectLifecycle(events: AsyncIterable<DomainEvent>, seen: string[]): Promise<void> {
  try {
    for await (const event of events) if (event.event === 'lifecycle') seen.push(`${event.type} ${event.detail}`);
  } catch (error) {
    if (!(error instanceof Error && error.name === 'AbortError')) throw error;
  }
}
