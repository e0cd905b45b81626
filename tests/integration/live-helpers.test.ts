/**
 * Devices that bring a process of their own into a running guest: a folder of the host by virtiofs, used by Linux in the guest, found again by
 * the next daemon, gone with the device.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type Domain, ErrorCode } from '../../src/index.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { LINUX_GUEST_CMDLINE, LINUX_GUEST_READY, linuxGuest } from '../support/guests/linux-guest.ts';

const hasVirtiofsd = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'].some((path) => existsSync(path));
if (!hasVirtiofsd) process.stderr.write('\nSKIPPED: folders that join running guests: there is no virtiofsd here\n\n');

const LIVE = { live: true } as const;
const SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
const PORTS = Array.from({ length: 6 }, (_, n) => `<controller type='pci' index='${n + 1}' model='pcie-root-port'/>`);

let scratch: string;
let share: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'helpers-'));
  const folder = join(scratch, 'folder');
  mkdirSync(folder);
  writeFileSync(join(folder, 'word'), 'from the host');
  share = `<filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/></binary><source dir='${folder}'/><target dir='share'/></filesystem>`;
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Servers of this test's folder. */
function servers(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const isZombie = /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
        const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
        return !isZombie && command.includes('virtiofsd') && command.includes(scratch) ? [Number(pid)] : [];
      } catch {
        // It has just ended.
        return [];
      }
    });
}

async function codeOf(promise: Promise<unknown>): Promise<number> {
  return await promise.then(
    () => {
      throw new Error('it succeeded');
    },
    ({ code }: { code: number }) => code,
  );
}

async function untilNoServer(): Promise<void> {
  await expect.poll(servers, { timeout: 20_000 }).toEqual([]);
}

async function smallGuest(name: string): Promise<string> {
  const disks = [{ path: await bootSectorImage('halt'), readonly: true }];
  return domainXml({ name, disks, devices: PORTS.join('') }).replace('<vcpu>', `${SHARED}<vcpu>`);
}

describe.skipIf(!hasVirtiofsd)('a folder that joins a running guest', () => {
  it('is mounted by it, and its server goes with it', { timeout: 120_000 }, async () => {
    await using connection = await connect('qemu:///embed');
    const linux = await linuxGuest({ modules: ['virtiofs'] });
    const devices = PORTS.join('');
    const xml = domainXml({ name: 'linux', memoryMiB: 192, ...linux, cmdline: LINUX_GUEST_CMDLINE, devices });
    const guest = await connection.createDomain(xml.replace('<vcpu>', `${SHARED}<vcpu>`));
    await guest.console().waitFor(LINUX_GUEST_READY, { signal: AbortSignal.timeout(60_000) });
    await guest.attachDevice(share, LIVE);
    expect(servers()).not.toEqual([]);
    await guest
      .console()
      .write(
        'mkdir -p /s; until mount -t virtiofs share /s 2>/dev/null; do usleep 50000; done; echo "said: $(cat /s/word)"; umount /s\n',
      );
    await guest.console().waitFor(/said: from the host/, { signal: AbortSignal.timeout(30_000) });
    await guest.detachDevice(share, LIVE);
    await untilNoServer();
    expect(await guest.xmlDesc()).not.toContain('<filesystem');
    // Again: nothing of the first one is in the way.
    await guest.attachDevice(share, LIVE);
    expect(servers()).not.toEqual([]);
    await guest.destroy();
    await untilNoServer();
  });

  it('leaves nothing when QEMU or its server refuses it', async () => {
    await using connection = await connect('qemu:///embed');
    const guest = await connection.createDomain(await smallGuest('refused'));
    const missing = share.replace("/folder'", "/nowhere'");
    await codeOf(guest.attachDevice(missing, LIVE));
    await untilNoServer();
    expect(await guest.xmlDesc()).not.toContain('<filesystem');
    expect(await guest.qemuMonitorCommand('query-chardev')).not.toEqual(
      expect.arrayContaining([expect.objectContaining({ label: expect.stringContaining('chr-vu') })]),
    );
    const plan9 = share.replace("<driver type='virtiofs'/><binary><sandbox mode='chroot'/></binary>", '');
    expect(await codeOf(guest.attachDevice(plan9, LIVE))).toBe(ErrorCode.OPERATION_UNSUPPORTED);
    const tpm = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>";
    expect(await codeOf(guest.attachDevice(tpm, LIVE))).toBe(ErrorCode.OPERATION_UNSUPPORTED);
  });

  it('is served on while there is no daemon, and ends with its guest under the next one', async () => {
    await using daemon = await startDaemon();
    await using first = await connect(daemon.uri);
    const guest = await first.createDomain(await smallGuest('kept'));
    await guest.attachDevice(share, LIVE);
    const before = servers();
    expect(before).not.toEqual([]);
    await first.close();
    await daemon.crash();
    expect(servers()).toEqual(before);
    await using second = await connect(daemon.uri);
    const found: Domain = await second.lookupDomainByName('kept');
    expect(await found.xmlDesc()).toContain("<target dir='share'/>");
    await found.destroy();
    await untilNoServer();
  });
});
