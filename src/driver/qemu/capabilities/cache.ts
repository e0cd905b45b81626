/**
 * Capabilities by binary: from memory, from a file, or by a probe, whichever comes first and is still true. One object
 * for each program; each binary is asked about on its own, so that one never causes another to be probed.
 */
import { basename, join } from 'node:path';
import { raceSignal } from '../../../core/abort.ts';
import { LogSource } from '../../../core/log-source.ts';
import { defaultCacheDir, readCacheFile, writeCacheFile } from '../../../host/cache-file.ts';
import { findProgram, lookUpProgram } from '../../../process/find-program.ts';
import { type CacheKey, type CacheKeyRoots, readCacheKey } from './cache-key.ts';
import { type AcceleratorName, CAPABILITIES_FORMAT, type QemuCapabilities } from './capabilities.ts';
import { type ProbeOptions, probeAccelerator, probeCapabilities } from './probe.ts';

const log = new LogSource('qemu.qemu_capabilities');

export interface CapabilitiesCacheOptions {
  /** Directory of the files; null: memory only. Default: `defaultCacheDir()`. */
  readonly dir?: string | null;
  readonly roots?: CacheKeyRoots;
  /** Milliseconds for which a binary that was found unchanged is not looked at again; default 0. */
  readonly freshMs?: number;
  /** How a binary is asked; tests put something else here. */
  readonly prober?: CapabilitiesProber;
}

export interface CapabilitiesProber {
  probeCapabilities(options: ProbeOptions): Promise<QemuCapabilities>;
  probeAccelerator(known: QemuCapabilities, options: ProbeOptions): Promise<QemuCapabilities>;
}

export interface CapabilitiesResult {
  readonly capabilities: QemuCapabilities;
  readonly source: 'memory' | 'file' | 'probe';
  /** One line for whom it may concern, for instance that the cache cannot be written; each is given once. */
  readonly notes: readonly string[];
}

/** What is in a file. */
interface Entry {
  readonly format: typeof CAPABILITIES_FORMAT;
  readonly key: string;
  readonly capabilities: QemuCapabilities;
}

/** A probe under way, and how many wait for it. */
interface Flight {
  readonly accelerator: AcceleratorName;
  readonly result: Promise<CapabilitiesResult>;
  readonly stop: AbortController;
  waiting: number;
}

export class CapabilitiesCache {
  readonly #dir: string | null;
  readonly #roots: CacheKeyRoots;
  readonly #prober: CapabilitiesProber;
  readonly #freshMs: number;
  readonly #memory = new Map<string, Entry>();
  /** By what callers ask for. */
  readonly #fresh = new Map<string, { readonly untilMs: number; readonly result: CapabilitiesResult }>();
  readonly #located = new Map<string, { readonly untilMs: number; readonly path: string }>();
  readonly #flights = new Map<string, Flight>();
  /** No directory was given, and there is none by default. */
  readonly #homeless: boolean;
  #saidUncached = false;

  constructor(options: CapabilitiesCacheOptions = {}) {
    this.#dir = (options.dir === undefined ? defaultCacheDir() : options.dir) ?? null;
    this.#homeless = options.dir === undefined && this.#dir === null;
    this.#roots = options.roots ?? {};
    this.#freshMs = options.freshMs ?? 0;
    this.#prober = options.prober ?? { probeCapabilities, probeAccelerator };
  }

  /**
   * Capabilities of a binary (a name in PATH or a path) with the CPU models of `accelerator` at least. Calls for the
   * same binary at the same time share one probe; it ends early only when all of them have given up.
   * @throws ProcessError (no such binary), what a probe throws, or the signal's reason
   */
  async get(
    qemu: string,
    accelerator: AcceleratorName,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<CapabilitiesResult> {
    if (this.#freshMs === 0) return await this.#find(qemu, accelerator, signal);
    signal?.throwIfAborted();
    const question = `${accelerator} ${qemu}`;
    const fresh = this.#fresh.get(question);
    if (fresh !== undefined && performance.now() < fresh.untilMs) return fresh.result;
    const result = await this.#find(qemu, accelerator, signal);
    const untilMs = performance.now() + this.#freshMs;
    this.#fresh.set(question, { untilMs, result: { ...result, source: 'memory', notes: [] } });
    return result;
  }

  /** Path of a binary by its name, if it is there. */
  locate(name: string): string | undefined {
    const known = this.#located.get(name);
    if (known !== undefined && performance.now() < known.untilMs) return known.path;
    const path = lookUpProgram(name);
    if (path !== undefined && this.#freshMs > 0) {
      this.#located.set(name, { untilMs: performance.now() + this.#freshMs, path });
    }
    return path;
  }

  async #find(
    qemu: string,
    accelerator: AcceleratorName,
    signal: AbortSignal | undefined,
  ): Promise<CapabilitiesResult> {
    const binary = findProgram(qemu);
    for (;;) {
      signal?.throwIfAborted();
      const key = readCacheKey(binary, this.#roots);
      const hit = this.#load(binary, key, accelerator);
      if (hit !== undefined) {
        log.debug('get', () => `${binary} accel=${accelerator}: from ${hit.source}`);
        return hit;
      }
      const flight = this.#flights.get(key.realpath) ?? this.#start(binary, key, accelerator);
      const result = await this.#join(key, flight, signal);
      // A probe for the other accelerator: this one's is made from its result, in the next round.
      if (flight.accelerator === accelerator) return under(binary, result);
    }
  }

  /** What is known without running anything; undefined where a probe is needed. @throws ProcessError (no such binary) */
  peek(qemu: string, accelerator: AcceleratorName): CapabilitiesResult | undefined {
    const binary = findProgram(qemu);
    return this.#load(binary, readCacheKey(binary, this.#roots), accelerator);
  }

  #load(binary: string, key: CacheKey, accelerator: AcceleratorName): CapabilitiesResult | undefined {
    const remembered = this.#memory.get(key.realpath);
    if (remembered?.key === key.key && remembered.capabilities.accelerators[accelerator] !== undefined)
      return under(binary, { capabilities: remembered.capabilities, source: 'memory', notes: [] });
    const stored = this.#readFile(key);
    if (stored?.capabilities.accelerators[accelerator] === undefined) return undefined;
    this.#memory.set(key.realpath, stored);
    return under(binary, { capabilities: stored.capabilities, source: 'file', notes: [] });
  }

  #start(binary: string, key: CacheKey, accelerator: AcceleratorName): Flight {
    const stop = new AbortController();
    const result = this.#probe(binary, key, { qemu: binary, accelerator, signal: stop.signal });
    const flight: Flight = { accelerator, result, stop, waiting: 0 };
    this.#flights.set(key.realpath, flight);
    const end = (): void => {
      if (this.#flights.get(key.realpath) === flight) this.#flights.delete(key.realpath);
    };
    result.then(end, end);
    return flight;
  }

  /** Waits for a flight; the last one to give up ends it, and nobody joins it from then on. */
  async #join({ realpath }: CacheKey, flight: Flight, signal: AbortSignal | undefined): Promise<CapabilitiesResult> {
    flight.waiting += 1;
    try {
      return await raceSignal(flight.result, signal);
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0 && signal?.aborted === true) {
        if (this.#flights.get(realpath) === flight) this.#flights.delete(realpath);
        flight.stop.abort(signal.reason);
      }
    }
  }

  async #probe(binary: string, key: CacheKey, options: ProbeOptions): Promise<CapabilitiesResult> {
    log.info('probe', () => `${binary} accel=${options.accelerator}: not cached, or changed since`);
    const known = [this.#memory.get(key.realpath), this.#readFile(key)].find((entry) => entry?.key === key.key);
    const capabilities =
      known === undefined
        ? await this.#prober.probeCapabilities(options)
        : await this.#prober.probeAccelerator(known.capabilities, options);
    // An upgrade in the middle of the probe: what came back may belong to either binary, so it is used but not kept.
    if (readCacheKey(binary, this.#roots).key !== key.key) return { capabilities, source: 'probe', notes: [] };
    const entry: Entry = { format: CAPABILITIES_FORMAT, key: key.key, capabilities };
    this.#memory.set(key.realpath, entry);
    return { capabilities, source: 'probe', notes: this.#writeFile(key, entry) };
  }

  #readFile(key: CacheKey): Entry | undefined {
    const path = this.#pathOf(key);
    const entry = path === undefined ? undefined : readCacheFile(path);
    return isEntry(entry) && entry.key === key.key ? entry : undefined;
  }

  #writeFile(key: CacheKey, entry: Entry): string[] {
    const path = this.#pathOf(key);
    if (path === undefined) return this.#homeless ? this.#sayUncached('HOME and XDG_CACHE_HOME are not set') : [];
    try {
      writeCacheFile(path, entry);
      return [];
    } catch (error) {
      return this.#sayUncached(error instanceof Error ? error.message : String(error));
    }
  }

  #sayUncached(cause: string): string[] {
    if (this.#saidUncached) return [];
    this.#saidUncached = true;
    const place = this.#dir ?? 'a cache directory';
    return [`capabilities are not cached: ${cause}; every program start probes QEMU anew until ${place} is writable`];
  }

  #pathOf({ realpath }: CacheKey): string | undefined {
    if (this.#dir === null) return undefined;
    return join(this.#dir, `${basename(realpath)}-${fingerprint(realpath)}.capabilities.json`);
  }
}

/** One binary may be known by several paths; each caller sees the one it asked for. */
function under(binary: string, result: CapabilitiesResult): CapabilitiesResult {
  if (result.capabilities.binary === binary) return result;
  return { ...result, capabilities: { ...result.capabilities, binary } };
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null || !('format' in value)) return false;
  if (value.format !== CAPABILITIES_FORMAT || !('key' in value) || typeof value.key !== 'string') return false;
  if (!('capabilities' in value)) return false;
  const { capabilities } = value;
  // The key holds the binary's identity; with it and the format right, the rest is what we wrote.
  return (
    typeof capabilities === 'object' &&
    capabilities !== null &&
    'format' in capabilities &&
    capabilities.format === CAPABILITIES_FORMAT &&
    'accelerators' in capabilities &&
    typeof capabilities.accelerators === 'object' &&
    capabilities.accelerators !== null
  );
}

/** FNV-1a, 32 bits: only to keep equal base names apart; a collision is a miss, since the key holds the whole path. */
function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
