/** The cache, with a prober that only counts: what hits, what misses, what is shared. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CapabilitiesCache, type CapabilitiesCacheOptions } from './cache.ts';
import type { AcceleratorName, QemuCapabilities } from './capabilities.ts';
import type { ProbeOptions } from './probe.ts';

let dir: string;
let qemu: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
  qemu = join(dir, 'qemu-system-x86_64');
  writeFileSync(qemu, '#!/bin/sh\n', { mode: 0o755 });
  for (const name of ['firmware', 'modules', 'proc']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'proc/cpuinfo'), 'processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 1000\n\nprocessor\t: 1\n');
});
afterEach(() => rmSync(dir, { recursive: true }));

function made(accelerator: AcceleratorName, binary: string): QemuCapabilities {
  const accelerators = { [accelerator]: { cpus: [] } };
  return {
    format: 1,
    binary,
    accelerators,
    machines: [],
    types: ['a'],
  } as Partial<QemuCapabilities> as QemuCapabilities;
}

class CountingProber {
  readonly asked: string[] = [];
  gate: Promise<void> = Promise.resolve();

  async probeCapabilities({ qemu, accelerator, signal }: ProbeOptions): Promise<QemuCapabilities> {
    this.asked.push(`all ${accelerator}`);
    await Promise.race([
      this.gate,
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    ]);
    return made(accelerator, qemu);
  }

  async probeAccelerator(known: QemuCapabilities, { accelerator }: ProbeOptions): Promise<QemuCapabilities> {
    this.asked.push(`more ${accelerator}`);
    await this.gate;
    return { ...known, accelerators: { ...known.accelerators, [accelerator]: { cpus: [] } } };
  }
}

function open(prober: CountingProber, options: CapabilitiesCacheOptions = {}): CapabilitiesCache {
  const roots = {
    proc: join(dir, 'proc'),
    devKvm: join(dir, 'kvm'),
    firmwareDirs: [join(dir, 'firmware')],
    moduleDirs: [join(dir, 'modules')],
  };
  return new CapabilitiesCache({ dir: join(dir, 'cache'), roots, prober, ...options });
}

describe('CapabilitiesCache', () => {
  it('probes once, then answers from memory, and in another program from the file', async () => {
    const prober = new CountingProber();
    const cache = open(prober);
    expect((await cache.get(qemu, 'tcg')).source).toBe('probe');
    expect((await cache.get(qemu, 'tcg')).source).toBe('memory');
    const again = await open(prober).get(qemu, 'tcg');
    expect(again.source).toBe('file');
    expect(again.capabilities).toEqual(made('tcg', qemu));
    expect(prober.asked).toEqual(['all tcg']);
    expect(readdirSync(join(dir, 'cache'))).toHaveLength(1);
  });

  it('looks at a binary again only after a while, where it may be asked often', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const prober = new CountingProber();
      const cache = open(prober, { freshMs: 1000 });
      await cache.get(qemu, 'tcg');
      expect(cache.locate(qemu)).toBe(qemu);
      writeFileSync(qemu, '#!/bin/sh\necho upgraded\n');
      expect((await cache.get(qemu, 'tcg')).source).toBe('memory');
      vi.advanceTimersByTime(1001);
      expect((await cache.get(qemu, 'tcg')).source).toBe('probe');
      expect(cache.locate(qemu)).toBe(qemu);
      rmSync(qemu);
      expect(cache.locate(qemu)).toBe(qemu);
      vi.advanceTimersByTime(1001);
      expect(cache.locate(qemu)).toBeUndefined();
      await expect(cache.get(qemu, 'tcg', { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
        'enough',
      );
    } finally {
      vi.useRealTimers();
    }
  });

  it('asks only for what the other accelerator changes', async () => {
    const prober = new CountingProber();
    await open(prober).get(qemu, 'tcg');
    const { capabilities } = await open(prober).get(qemu, 'kvm');
    expect(Object.keys(capabilities.accelerators)).toEqual(['tcg', 'kvm']);
    expect((await open(prober).get(qemu, 'tcg')).source).toBe('file');
    expect(prober.asked).toEqual(['all tcg', 'more kvm']);
  });

  it('peeks without probing', async () => {
    const prober = new CountingProber();
    expect(open(prober).peek(qemu, 'tcg')).toBeUndefined();
    await open(prober).get(qemu, 'tcg');
    expect(open(prober).peek(qemu, 'tcg')?.source).toBe('file');
    expect(open(prober).peek(qemu, 'kvm')).toBeUndefined();
    expect(prober.asked).toEqual(['all tcg']);
  });

  it.each([
    ['the binary is written again', () => writeFileSync(qemu, '#!/bin/sh\n# new\n')],
    ['its time changes', () => utimesSync(qemu, 1, 1)],
    ['a firmware descriptor comes', () => utimesSync(join(dir, 'firmware'), 1, 1)],
    ['a module comes', () => utimesSync(join(dir, 'modules'), 1, 1)],
    ['the module folder goes', () => rmSync(join(dir, 'modules'), { recursive: true })],
    ['/dev/kvm appears', () => writeFileSync(join(dir, 'kvm'), '')],
    ['the processor is another', () => writeFileSync(join(dir, 'proc/cpuinfo'), 'model name\t: B\n')],
  ])('probes again when %s', async (_name, change) => {
    const prober = new CountingProber();
    const cache = open(prober);
    await cache.get(qemu, 'tcg');
    change();
    expect((await cache.get(qemu, 'tcg')).source).toBe('probe');
    expect((await open(prober).get(qemu, 'tcg')).source).toBe('file');
  });

  it('does not mind the clock rate of the moment', async () => {
    const prober = new CountingProber();
    await open(prober).get(qemu, 'tcg');
    writeFileSync(join(dir, 'proc/cpuinfo'), 'processor\t: 7\nmodel name\t: A\ncpu MHz\t\t: 3210\n\nprocessor\t: 1\n');
    expect((await open(prober).get(qemu, 'tcg')).source).toBe('file');
  });

  it.each([
    ['is empty', () => ''],
    ['ends in the middle', (text: string) => text.slice(0, -20)],
    ['is of another format', (text: string) => text.replaceAll('"format":1', '"format":2')],
    ['is something else', () => '[1]'],
    ['has no accelerators', (text: string) => text.replace('"accelerators"', '"somethings"')],
  ])('takes a file that %s for a miss, and writes it anew', async (_name, damage) => {
    const prober = new CountingProber();
    await open(prober).get(qemu, 'tcg');
    const [name = ''] = readdirSync(join(dir, 'cache'));
    const path = join(dir, 'cache', name);
    writeFileSync(path, damage(readFileSync(path, 'utf8')));
    expect((await open(prober).get(qemu, 'tcg')).source).toBe('probe');
    expect((await open(prober).get(qemu, 'tcg')).source).toBe('file');
  });

  it('works without a writable directory, and says so once', async () => {
    const prober = new CountingProber();
    writeFileSync(join(dir, 'cache'), 'a file where the directory should be');
    const cache = open(prober);
    const first = await cache.get(qemu, 'tcg');
    expect(first.notes).toHaveLength(1);
    expect(first.notes[0]).toContain(join(dir, 'cache'));
    utimesSync(qemu, 1, 1);
    expect((await cache.get(qemu, 'tcg')).notes).toEqual([]);
    expect((await cache.get(qemu, 'tcg')).source).toBe('memory');
  });

  it('keeps nothing on disk when told so', async () => {
    const prober = new CountingProber();
    const cache = open(prober, { dir: null });
    expect((await cache.get(qemu, 'tcg')).notes).toEqual([]);
    expect((await cache.get(qemu, 'tcg')).source).toBe('memory');
    expect(readdirSync(dir)).not.toContain('cache');
  });

  it('knows one binary by two names, and gives each caller its own', async () => {
    const prober = new CountingProber();
    const link = join(dir, 'kvm-link');
    symlinkSync(qemu, link);
    const cache = open(prober);
    expect((await cache.get(qemu, 'tcg')).capabilities.binary).toBe(qemu);
    expect((await cache.get(link, 'tcg')).capabilities.binary).toBe(link);
    expect(prober.asked).toEqual(['all tcg']);
  });

  it('keeps two binaries of one name apart', async () => {
    const prober = new CountingProber();
    mkdirSync(join(dir, 'other'));
    const other = join(dir, 'other/qemu-system-x86_64');
    writeFileSync(other, '#!/bin/sh\n');
    chmodSync(other, 0o755);
    const cache = open(prober);
    await cache.get(qemu, 'tcg');
    await cache.get(other, 'tcg');
    expect(prober.asked).toHaveLength(2);
    expect(readdirSync(join(dir, 'cache'))).toHaveLength(2);
  });

  it('names a binary that is not there', async () => {
    await expect(open(new CountingProber()).get(join(dir, 'nope'), 'tcg')).rejects.toThrow(/nope/);
  });
});

describe('probes at the same time', () => {
  it('share one process for one binary and accelerator', async () => {
    const prober = new CountingProber();
    const cache = open(prober);
    const results = await Promise.all([cache.get(qemu, 'tcg'), cache.get(qemu, 'tcg'), cache.get(qemu, 'tcg')]);
    expect(results.map(({ source }) => source)).toEqual(['probe', 'probe', 'probe']);
    expect(prober.asked).toEqual(['all tcg']);
  });

  it('come one after the other for two accelerators', async () => {
    const prober = new CountingProber();
    const cache = open(prober);
    await Promise.all([cache.get(qemu, 'tcg'), cache.get(qemu, 'kvm')]);
    expect(prober.asked).toEqual(['all tcg', 'more kvm']);
  });

  it('go on for those who still wait when one gives up', async () => {
    const prober = new CountingProber();
    let release = (): void => {};
    prober.gate = new Promise((resolve) => {
      release = resolve;
    });
    const cache = open(prober);
    const impatient = new AbortController();
    const first = cache.get(qemu, 'tcg', { signal: impatient.signal });
    const second = cache.get(qemu, 'tcg');
    impatient.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    release();
    expect((await second).source).toBe('probe');
    expect(prober.asked).toEqual(['all tcg']);
  });

  it('end when the last one gives up, and the next caller starts afresh', async () => {
    const prober = new CountingProber();
    prober.gate = new Promise(() => {});
    const cache = open(prober);
    const impatient = new AbortController();
    const first = cache.get(qemu, 'tcg', { signal: impatient.signal });
    impatient.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    prober.gate = Promise.resolve();
    expect((await cache.get(qemu, 'tcg')).source).toBe('probe');
    expect(prober.asked).toEqual(['all tcg', 'all tcg']);
  });

  it('fail together, and are not remembered as failed', async () => {
    const prober = new CountingProber();
    prober.gate = Promise.reject(new Error('broken binary'));
    const cache = open(prober);
    const results = await Promise.allSettled([cache.get(qemu, 'tcg'), cache.get(qemu, 'tcg')]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    prober.gate = Promise.resolve();
    expect((await cache.get(qemu, 'tcg')).source).toBe('probe');
    expect(prober.asked).toEqual(['all tcg', 'all tcg']);
  });
});
