import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CPUID_FEATURES, featuresOf, readCpuidFeatures } from './cpuid.ts';

const NOTHING = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

describe('features by CPUID', () => {
  it('are the bits that are set, by name', () => {
    const leaves: Record<string, Partial<typeof NOTHING>> = {
      '0 0': { eax: 0xd },
      '2147483648 0': { eax: 0x8000_0008 | 0 },
      '1 0': { edx: (1 << 0) | (1 << 31), ecx: (1 << 0) | (1 << 27) },
      '7 0': { ebx: 1 << 18, ecx: 1 << 22, edx: 1 << 26 },
      '7 1': { eax: 1 << 4 },
      '13 1': { eax: 1 << 1 },
      '2147483649 0': { edx: 1 << 29 },
      '2147483655 0': { edx: 1 << 8 },
    };
    const found = featuresOf((leaf, subleaf) => ({ ...NOTHING, ...leaves[`${leaf} ${subleaf}`] }));
    expect(found).toEqual([
      'fpu',
      'pbe',
      'pni',
      'osxsave',
      'rdseed',
      'rdpid',
      'spec-ctrl',
      'avx-vnni',
      'xsavec',
      'lm',
      'invtsc',
    ]);
  });

  it('are not read from leaves that the processor does not have', () => {
    const all = { eax: 1, ebx: -1, ecx: -1, edx: -1 };
    expect(featuresOf(() => all)).toContain('sse2');
    expect(featuresOf(() => all)).not.toContain('avx2');
  });

  it('are unknown where the kernel does not give them out', () => {
    const dev = mkdtempSync(join(tmpdir(), 'cpuid-'));
    expect(readCpuidFeatures({ dev })).toBeUndefined();
    mkdirSync(join(dev, 'cpu/0'), { recursive: true });
    writeFileSync(join(dev, 'cpu/0/cpuid'), '');
    expect(readCpuidFeatures({ dev })).toEqual([]);
    rmSync(dev, { recursive: true });
  });

  it('have each name once', () => {
    expect(new Set(CPUID_FEATURES).size).toBe(CPUID_FEATURES.length);
  });
});
