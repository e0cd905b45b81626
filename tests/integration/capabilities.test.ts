/** Real QEMU: what it can do, asked once and then remembered; and a verdict on this host's KVM, whatever it is. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CapabilitiesCache } from '../../src/driver/qemu/capabilities/cache.ts';
import {
  findCpu,
  findMachine,
  hasCommand,
  hasDevice,
  hasFeature,
  hasOption,
  hasProperty,
  type QemuCapabilities,
  versionAtLeast,
} from '../../src/driver/qemu/capabilities/capabilities.ts';
import { type ProbeOptions, probeAccelerator, probeCapabilities } from '../../src/driver/qemu/capabilities/probe.ts';
import { probeKvm } from '../../src/host/accelerator.ts';
import { probeGuest } from '../../src/host/kvm-guest.ts';
import { listChildren } from '../../src/process/proc.ts';
import { spawnChild } from '../../src/process/spawn.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const present = existsSync(QEMU);
if (!present) process.stderr.write(`SKIPPED: ${QEMU} is not installed (Debian package qemu-system-x86)\n`);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Real probes, counted. */
class CountingProber {
  readonly probes: string[] = [];
  mostChildren = 0;

  async probeCapabilities(options: ProbeOptions): Promise<QemuCapabilities> {
    this.probes.push(`all ${options.accelerator}`);
    return this.#watch(probeCapabilities(options));
  }

  async probeAccelerator(known: QemuCapabilities, options: ProbeOptions): Promise<QemuCapabilities> {
    this.probes.push(`more ${options.accelerator}`);
    return this.#watch(probeAccelerator(known, options));
  }

  async #watch<T>(work: Promise<T>): Promise<T> {
    const others = new Set(listChildren(process.pid).map(({ pid }) => pid));
    const timer = setInterval(() => {
      const now = listChildren(process.pid).filter(({ pid }) => !others.has(pid)).length;
      this.mostChildren = Math.max(this.mostChildren, now);
    }, 2);
    try {
      return await work;
    } finally {
      clearInterval(timer);
    }
  }
}

describe.skipIf(!present)('capabilities of a real QEMU', () => {
  it('are plausible, take one process, and are remembered', async () => {
    const prober = new CountingProber();
    const open = () => new CapabilitiesCache({ dir: join(dir, 'cache'), prober });
    const { capabilities, source, notes } = await open().get(QEMU, 'tcg');
    expect([source, notes]).toEqual(['probe', []]);
    expect(prober.mostChildren).toBeLessThanOrEqual(1);

    expect(versionAtLeast(capabilities, 5, 2)).toBe(true);
    expect(capabilities.arch).toBe('x86_64');
    expect(findMachine(capabilities, 'q35')?.name).toMatch(/^pc-q35-\d+\.\d+$/);
    expect(findMachine(capabilities, 'pc')?.cpuMax).toBeGreaterThan(100);
    expect(findCpu(capabilities, 'tcg', 'qemu64')?.unavailableFeatures).toBeInstanceOf(Array);
    expect(capabilities.accelerators.tcg?.hostModel?.props).toMatchObject({ sse2: true, lm: true });
    expect(hasDevice(capabilities, 'virtio-blk-pci')).toBe(true);
    expect(hasDevice(capabilities, 'virtio-blk-ccw')).toBe(false);
    expect(hasProperty(capabilities, 'virtio-blk-pci', 'iothread')).toBe(true);
    expect(hasOption(capabilities, 'sandbox', 'spawn')).toBe(true);
    expect(hasCommand(capabilities, 'blockdev-add')).toBe(true);
    expect(hasFeature(capabilities, 'block-export-add')).toBe(true);
    expect(hasFeature(capabilities, 'device-json')).toBe(true);
    expect(capabilities.migrationCapabilities).toContain('multifd');

    const again = await open().get(QEMU, 'tcg');
    expect(again.source).toBe('file');
    expect(again.capabilities).toEqual(capabilities);
    expect(prober.probes).toEqual(['all tcg']);
    expect(readdirSync(join(dir, 'cache'))).toHaveLength(1);
  });

  it.skipIf(!existsSync('/usr/bin/qemu-system-aarch64'))('of another target are its own', async () => {
    const { capabilities } = await new CapabilitiesCache({ dir: null }).get('qemu-system-aarch64', 'tcg');
    expect(capabilities.arch).toBe('aarch64');
    expect(findMachine(capabilities, 'virt')?.name).toMatch(/^virt-\d/);
    expect(capabilities.accelerators.tcg?.hostModel).toMatchObject({ name: 'max', props: { aarch64: true } });
    expect(hasProperty(capabilities, 'virt-machine', 'gic-version')).toBe(true);
  });

  it('leave no process behind when the caller gives up', async () => {
    const controller = new AbortController();
    const before = listChildren(process.pid).map(({ pid }) => pid);
    const probe = probeCapabilities({ qemu: QEMU, accelerator: 'tcg', signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(probe).rejects.toThrow('enough');
    const after = listChildren(process.pid).filter(({ pid, state }) => !before.includes(pid) && state !== 'Z');
    expect(after).toEqual([]);
  });
});

describe.skipIf(!present)('the KVM probe', () => {
  it('comes to a verdict with a reason, in bounded time', async () => {
    const verdict = await probeKvm({ qemu: QEMU, signal: AbortSignal.timeout(30_000) });
    if (verdict.usable) expect(verdict.timeMs).toBeGreaterThan(0);
    else {
      expect(['absent', 'permission', 'broken', 'slower-than-emulation', 'busy']).toContain(verdict.reason);
      expect(verdict.detail).not.toBe('');
    }
  });

  it.each(['x86_64', 'i386', 'aarch64'])('has a guest for %s that runs to its end under TCG', async (arch) => {
    const qemu = `/usr/bin/qemu-system-${arch}`;
    const guest = probeGuest(arch);
    if (!existsSync(qemu) || guest === undefined) return;
    const image = join(dir, 'guest');
    writeFileSync(image, guest.image);
    await using child = await spawnChild({ command: qemu, args: ['-accel', 'tcg', ...guest.args(image)] });
    expect(await child.exited).toMatchObject({ exitCode: guest.exitCode, reason: 'exited' });
  });
});
