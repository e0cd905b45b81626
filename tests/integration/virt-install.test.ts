/**
 * Domains as Debian's virt-install writes them (`--print-xml`; only the disk's path is ours): every element is understood, and
 * those for x86_64 boot unchanged, with BIOS and with UEFI. Where virt-install itself is installed, what it writes today is checked too.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { copyBootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { EFI_GREETING, writeEfiDisk } from '../support/guests/efi-disk.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/virt-install/', import.meta.url));
const OVMF = '/usr/share/OVMF/OVMF_CODE_4M.fd';

let scratch: string;
let bios: string;
let uefi: string;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'virt-install-'));
  bios = await copyBootSectorImage('poweroff', scratch);
  uefi = join(scratch, 'efi.img');
  await writeEfiDisk(uefi);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const readFixture = (name: string, disk: string) =>
  readFileSync(join(FIXTURES, `${name}.xml`), 'utf8').replace('@DISK@', disk);

/** Boots it, and returns all that it says until it has powered off. */
async function bootToTheEnd(xml: string): Promise<string> {
  const notes: string[] = [];
  await using connection = await connect('qemu:///embed', { onNote: (note) => notes.push(note) });
  await using guest = await connection.createDomain(xml);
  const said: string[] = [];
  for await (const line of guest.console().lines()) said.push(line);
  expect(await guest.waitForStop({ signal: AbortSignal.timeout(60_000) })).toMatchObject({ detail: 'shutdown' });
  expect(notes.filter((note) => /not known/.test(note))).toEqual([]);
  return said.join('\n');
}

describe('a domain made by virt-install', () => {
  it.each(['pc-bios', 'q35-linux2022', 'q35-uefi', 'q35-uefi-no-secure-boot', 'aarch64-virt'])(
    '%s is understood to the last attribute',
    (name) => {
      expect(parseDomain(readFixture(name, '/srv/disk.img')).warnings).toEqual([]);
    },
  );

  it.each(['pc-bios', 'q35-linux2022'])('%s boots unchanged', async (name) => {
    expect(await bootToTheEnd(readFixture(name, bios))).toContain(greetingOf('poweroff'));
  });

  it.skipIf(!existsSync(OVMF))(
    'q35-uefi-no-secure-boot boots a UEFI application from its disk, unchanged',
    async () => {
      expect(await bootToTheEnd(readFixture('q35-uefi-no-secure-boot', uefi))).toContain(EFI_GREETING);
    },
  );

  it.skipIf(!existsSync(OVMF))('q35-uefi has Secure Boot, as under libvirt: nothing unsigned starts', async () => {
    await using connection = await connect('qemu:///embed');
    await using guest = await connection.createDomain(readFixture('q35-uefi', uefi));
    await guest
      .console()
      .waitFor(/failed to load Boot0001[^\n]*Access Denied/, { signal: AbortSignal.timeout(60_000) });
  });
});

describe('virt-install of this machine', () => {
  const installed = existsSync('/usr/bin/virt-install');
  if (!installed)
    process.stderr.write('\nSKIPPED: virt-install is not here (package virtinst); stored output is checked\n\n');

  it.skipIf(!installed)('writes elements that are all known', () => {
    const result = spawnSync(
      '/usr/bin/virt-install',
      [
        '--connect',
        'test:///default',
        '--print-xml',
        '--name',
        'today',
        '--memory',
        '64',
        '--disk',
        'none',
        '--import',
        '--arch',
        'i686',
        '--virt-type',
        'test',
        '--network',
        'user',
        '--graphics',
        'vnc',
        '--sound',
        'ich9',
        '--tpm',
        'emulator',
        '--rng',
        '/dev/urandom',
        '--watchdog',
        'i6300esb',
        '--channel',
        'unix,target.type=virtio,target.name=org.qemu.guest_agent.0',
        '--osinfo',
        'detect=off,require=off',
      ],
      { encoding: 'utf8', timeout: 60_000 },
    );
    expect(result.stderr).toBe('');
    expect(parseDomain(result.stdout).warnings).toEqual([]);
  });
});
