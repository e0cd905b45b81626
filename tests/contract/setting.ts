/** What tests of the contract share: a connection, guests (boot sectors, or containers that do the same), and that nothing of a test stays. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type Connection, type CreateOptions, type Domain, type ErrorCode, VirtError } from '../../src/index.ts';
import { domainXml, type TestDomain } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';

export type Guest = Parameters<typeof bootSectorImage>[0];

/** What a test of the contract works with. */
export interface ContractSetting {
  readonly connection: Connection;
  /** A folder that goes with the suite. */
  readonly scratch: string;
  /** Names of the test's domains: they go with it. */
  readonly made: Set<string>;
  /** Whether guests can be started paused. */
  readonly canPause: boolean;
  /** A definition of a boot sector's guest, with a name of its own. */
  readonly xmlOf: (guest: Guest, overrides?: TestDomain) => Promise<string>;
  readonly started: (guest: Guest, overrides?: TestDomain, options?: CreateOptions) => Promise<Domain>;
}

/** One test, or a skip with the subject's reason. */
export type ContractTest = (title: string, body: (setting: ContractSetting) => Promise<void>) => void;

/** What differs between kinds of guests. */
export interface GuestKind {
  readonly canPause: boolean;
  readonly define: (guest: Guest, overrides: TestDomain & { readonly name: string }) => Promise<string>;
}

export const BOOT_SECTORS: GuestKind = {
  canPause: true,
  define: async (guest, overrides) =>
    domainXml({ disks: [{ path: await bootSectorImage(guest), readonly: true }], ...overrides }),
};

/** `open` is called once; the suite closes what it returns. */
export function useSetting(open: () => Promise<Connection>, kind: GuestKind): () => ContractSetting {
  let setting: ContractSetting | undefined;
  const current = (): ContractSetting => {
    if (setting === undefined) throw new TypeError('the suite has no connection yet');
    return setting;
  };
  beforeAll(async () => {
    setting = makeSetting(await open(), mkdtempSync(join(tmpdir(), 'contract-')), kind);
  });
  afterEach(async () => await removeDomains(current()));
  afterAll(async () => {
    await setting?.connection.close();
    if (setting !== undefined) rmSync(setting.scratch, { recursive: true, force: true });
  });
  return current;
}

function makeSetting(connection: Connection, scratch: string, kind: GuestKind): ContractSetting {
  const made = new Set<string>();
  let counter = 0;
  const xmlOf = async (guest: Guest, overrides: TestDomain = {}): Promise<string> => {
    const name = overrides.name ?? `contract-${process.pid}-${++counter}`;
    made.add(name);
    return await kind.define(guest, { ...overrides, name });
  };
  const started = async (guest: Guest, overrides: TestDomain = {}, options: CreateOptions = {}): Promise<Domain> =>
    await connection.createDomain(await xmlOf(guest, overrides), options);
  return { connection, scratch, made, canPause: kind.canPause, xmlOf, started };
}

/** Whatever a test leaves must not disturb the next. */
async function removeDomains({ connection, made }: ContractSetting): Promise<void> {
  for (const domain of await connection.listAllDomains()) {
    if (!made.has(domain.name)) continue;
    if (await domain.isActive().catch(() => false)) await domain.destroy().catch(() => undefined);
    await domain.undefine({ managedSave: true, nvram: true }).catch(() => undefined);
  }
  made.clear();
}

export async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await promise.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VirtError);
  expect(error).toMatchObject({ code });
}
