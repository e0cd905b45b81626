/**
 * What the fuzzers start from: rich definitions of our own that together use every device family, and the QEMUs that they
 * are planned for. Mutating them is in `mutations.ts`, judging the outcome in `pipeline.ts`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { QemuCapabilities } from '../src/driver/qemu/capabilities/capabilities.ts';

const FIXTURES = fileURLToPath(new URL('../tests/fixtures/', import.meta.url));

/** One definition to start from. */
export interface Seed {
  readonly name: string;
  readonly xml: string;
}

/** All of `tests/fixtures/domains`. */
export function readSeeds(): Seed[] {
  const folder = join(FIXTURES, 'domains');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.xml'))
    .sort()
    .map((file) => ({ name: file.slice(0, -'.xml'.length), xml: readFileSync(join(folder, file), 'utf8') }));
}

/** QEMU 7.2 as Debian 12 has it; both accelerators. */
export function readCapabilities(arch: 'x86_64' | 'aarch64'): QemuCapabilities {
  return JSON.parse(readFileSync(join(FIXTURES, `capabilities/qemu-7.2-${arch}.json`), 'utf8')) as QemuCapabilities;
}
