import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fakeCapabilities } from '../../../../tests/support/plan-context.ts';
import { hostModelOf, nameProcessor, type Processor } from './host-model.ts';
import { qemuFeatureName, X86_FEATURES } from './x86-features.ts';
import { type X86Model, x86Models } from './x86-models.ts';

const MODELS = new Map(x86Models().map((model) => [model.name, model]));
const ALL: ReadonlyMap<string, readonly string[]> = new Map([...MODELS.keys()].map((name) => [name, []]));

/** A processor that is just what a named model says, with changes. */
function processorLike(name: string, changes: Partial<Processor> & { with?: string[]; without?: string[] } = {}) {
  const { with: added = [], without = [], ...rest } = changes;
  const model: X86Model | undefined = MODELS.get(name);
  const features = new Set([...(model?.features ?? []), ...added].filter((feature) => !without.includes(feature)));
  const { vendor = '', family = 0, models: [number = 0] = [], steppings: [stepping] = [0, 0] } = model ?? {};
  return { vendor, family, model: number, stepping, features, ...rest };
}

describe('nameProcessor', () => {
  it.each(['Haswell', 'Skylake-Server-IBRS', 'Cascadelake-Server-noTSX', 'Icelake-Server', 'EPYC-Rome', 'EPYC-Milan'])(
    'finds %s for what is exactly that',
    (name) => {
      expect(nameProcessor(processorLike(name), ALL)).toEqual({ model: name, features: [] });
    },
  );

  it('says what is more and what is missing, in CPUID order', () => {
    const processor = processorLike('EPYC-Milan', { with: ['x2apic', 'amd-psfd', 'acpi'], without: ['pku', 'vme'] });
    expect(nameProcessor(processor, ALL)).toEqual({
      model: 'EPYC-Milan',
      features: [
        { name: 'acpi', policy: 'require' },
        { name: 'x2apic', policy: 'require' },
        { name: 'amd-psfd', policy: 'require' },
        { name: 'vme', policy: 'disable' },
        { name: 'pku', policy: 'disable' },
      ],
    });
  });

  it('prefers the model that was made for the processor to a shorter description', () => {
    const isRome = { family: 23, model: 49 };
    expect(nameProcessor(processorLike('EPYC-Milan', isRome), ALL)?.model).toBe('EPYC-Rome');
    expect(nameProcessor(processorLike('EPYC-Milan', { family: 23, model: 113 }), ALL)?.model).toBe('EPYC-Milan');
  });

  it('tells steppings of one model number apart', () => {
    const stepping = (number: number) =>
      nameProcessor({ ...processorLike('Cascadelake-Server'), stepping: number }, ALL);
    expect(stepping(4)?.model).toMatch(/^Skylake-Server/);
    expect(stepping(6)?.model).toMatch(/^Cascadelake-Server/);
  });

  it('disables what keeps a model from running, and names only what this QEMU has', () => {
    const processor = processorLike('EPYC-Rome');
    expect(nameProcessor(processor, new Map([['EPYC-Rome', ['xsaves', 'topoext', 'clwb']]]))?.features).toEqual([
      { name: 'topoext', policy: 'disable' },
    ]);
    expect(nameProcessor(processor, new Map([['EPYC', []]]))?.model).toBe('EPYC');
    expect(nameProcessor(processor, new Map([['Haswell', []]]))).toBeUndefined();
  });

  it('describes any set of features without losing one', () => {
    fc.assert(
      fc.property(fc.subarray([...X86_FEATURES]), (names) => {
        const processor = { vendor: 'GenuineIntel', family: 6, model: 158, stepping: 1, features: new Set(names) };
        const found = nameProcessor(processor, ALL);
        const result = new Set(MODELS.get(found?.model ?? '')?.features);
        for (const { name, policy } of found?.features ?? []) {
          if (policy === 'require') result.add(name);
          else result.delete(name);
        }
        expect([...result].sort()).toEqual([...names].sort());
      }),
      { numRuns: 50 },
    );
  });
});

describe('hostModelOf', () => {
  it('reads QEMU’s own description of the host', () => {
    const props = Object.fromEntries([...(MODELS.get('Haswell')?.features ?? [])].map((name) => [name, true]));
    const hostModel = {
      name: 'host',
      props: { ...props, vendor: 'GenuineIntel', family: 6, model: 60, stepping: 3, hle: false, 'kvm-pv-eoi': true },
    };
    const cpus = [{ name: 'Haswell', typename: 'Haswell-x86_64-cpu' }];
    const caps = fakeCapabilities({ accelerators: { kvm: { cpus, hostModel } } });
    expect(hostModelOf(caps, 'kvm')).toEqual({ model: 'Haswell', features: [{ name: 'hle', policy: 'disable' }] });
    expect(hostModelOf(caps, 'tcg')).toBeUndefined();
    expect(hostModelOf({ ...caps, arch: 'aarch64' }, 'kvm')).toBeUndefined();
  });
});

describe('tables', () => {
  it('name each feature once, and models only what is a feature', () => {
    expect(new Set(X86_FEATURES).size).toBe(X86_FEATURES.length);
    const unknown = x86Models().flatMap(({ features }) => [...features].filter((name) => !X86_FEATURES.includes(name)));
    expect([...new Set(unknown)]).toEqual([]);
  });

  it('translate libvirt’s names, on x86 only', () => {
    expect(qemuFeatureName('pclmuldq', true)).toBe('pclmulqdq');
    expect(qemuFeatureName('lahf_lm', true)).toBe('lahf-lm');
    expect(qemuFeatureName('sse4.1', true)).toBe('sse4.1');
    expect(qemuFeatureName('cmp_legacy', false)).toBe('cmp_legacy');
  });
});
