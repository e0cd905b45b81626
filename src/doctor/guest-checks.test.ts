/** What can be seen of a definition without QEMU: files as the user that will open them, the console, the power button, sizes. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Person } from '../security/path-access.ts';
import { type Finding, realHost } from './finding.ts';
import { checkGuest } from './guest-checks.ts';

const NOBODY: Person = { uid: 4_000_000, gids: [4_000_000], name: 'ci' };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'guest-checks-'));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Case {
  readonly devices?: string;
  readonly elements?: string;
  readonly arch?: string;
  readonly person?: Person;
}

/** The driver that would start it is not asked. */
async function check({ devices = '', elements = '', arch = 'x86_64', person = NOBODY }: Case): Promise<Finding[]> {
  const xml = `<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory>${elements}
    <os><type arch='${arch}' machine='q35'>hvm</type></os><devices>${devices}</devices></domain>`;
  const proc = join(folder, 'proc');
  mkdirSync(proc, { recursive: true });
  writeFileSync(join(proc, 'meminfo'), 'MemAvailable: 4000000 kB\nHugePages_Free: 3\nHugepagesize: 2048 kB\n');
  writeFileSync(join(proc, 'cpuinfo'), 'processor : 0\n');
  const none = () => Promise.reject(new Error('no driver in this test'));
  const drivers = { openDriver: none, openContainers: none };
  return await checkGuest({ ...realHost(), proc }, { xml, fileName: 'x.xml', start: false, person, ...drivers });
}

const of = (findings: readonly Finding[], id: string): Finding | undefined => findings.find((one) => one.id === id);

/** A qcow2 image that stands on another: as much of its header as names that one. */
function qcow2(path: string, backing: string): void {
  const header = Buffer.alloc(112 + backing.length + 8);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(120n, 8);
  header.writeUInt32BE(backing.length, 16);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(1024n, 24);
  header.writeUInt32BE(104, 100);
  header.write(backing, 120, 'latin1');
  writeFileSync(path, header);
  chmodSync(path, 0o666);
}

const disk = (path: string): string =>
  `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;

describe('files', () => {
  it('are looked at as the user who opens them, folder by folder', async () => {
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    writeFileSync(join(closed, 'a.qcow2'), '');
    const found = of(await check({ devices: disk(join(closed, 'a.qcow2')) }), 'guest-files');
    expect(found).toMatchObject({
      verdict: 'fail',
      title: 'disk vda',
      fact: expect.stringContaining(`${closed} denies`),
    });
    expect(found?.fix?.command).toBe(`setfacl -m u:ci:x ${closed}`);
  });

  it('of a chain are followed to the end', async () => {
    const [top, base] = [join(folder, 'top.qcow2'), join(folder, 'base.qcow2')];
    qcow2(top, 'base.qcow2');
    expect(of(await check({ devices: disk(top) }), 'guest-files')).toMatchObject({ verdict: 'pass' });
    const missing = (await check({ devices: disk(top) })).find(({ verdict }) => verdict === 'fail');
    expect(missing).toMatchObject({
      title: 'disk vda',
      fact: expect.stringMatching(/base\.qcow2: cannot open it .*ENOENT/),
    });
    expect(missing?.fix?.command).toContain('qemu-img rebase -u');
    writeFileSync(base, '');
    chmodSync(base, 0o600);
    expect(await check({ devices: disk(top) })).toContainEqual(
      expect.objectContaining({ verdict: 'fail', fact: expect.stringContaining(`${base} denies (mode 0600`) }),
    );
    chmodSync(base, 0o644);
    expect(of(await check({ devices: disk(top) }), 'guest-chain')).toMatchObject({
      verdict: 'pass',
      fact: `stands on ${base}`,
    });
  });
});

describe('the power button', () => {
  it.each<[string, Case, string | undefined]>([
    ['a PC without ACPI', {}, 'warn'],
    ['with it', { elements: '<features><acpi/></features>' }, undefined],
    ['another architecture', { arch: 'riscv64' }, undefined],
  ])('%s', async (_, one, verdict) => expect(of(await check(one), 'guest-acpi')?.verdict).toBe(verdict));

  it('is the agent’s where there is one', async () => {
    const channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
    expect(of(await check({ devices: channel }), 'guest-acpi')?.why).toMatch(/only the agent can shut/);
    expect(of(await check({}), 'guest-acpi')?.why).toMatch(/nobody can shut the guest down/);
  });
});

describe('what a guest needs', () => {
  it.each([
    ['guest-console', {}, 'warn'],
    ['guest-console', { devices: "<serial type='pty'/>" }, 'pass'],
    ['guest-memory', {}, 'pass'],
    ['guest-memory', { elements: '<memoryBacking><hugepages/></memoryBacking>' }, 'fail'],
    ['guest-hard-limit', { elements: "<memtune><hard_limit unit='MiB'>80</hard_limit></memtune>" }, 'warn'],
    ['guest-vcpus', { elements: '<vcpu>4</vcpu>' }, 'warn'],
    ['guest-ports', { devices: "<graphics type='vnc' port='1' autoport='no'/>" }, 'pass'],
  ])('%s of %j: %s', async (id, one, verdict) => expect(of(await check(one), id)?.verdict).toBe(verdict));
});
