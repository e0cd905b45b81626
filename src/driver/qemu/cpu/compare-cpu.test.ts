import { describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { baselineCpu } from './baseline-cpu.ts';
import { compareCpu, type OfferedCpu, requireCompatible } from './compare-cpu.ts';
import { featuresOfModel, parseCpuDescription } from './cpu-description.ts';
import { hostProcessorOf, nameHost } from './host-processor.ts';
import { libvirtModels } from './libvirt-models.ts';

/** An AMD processor that is a kvm64 with AVX. */
const OFFERED: OfferedCpu = { vendor: 'AMD', features: new Set([...featuresOfModel('kvm64'), 'avx', 'lahf-lm']) };

const feature = (policy: string, name = 'avx'): string =>
  `<cpu match='exact'><model>kvm64</model><feature name='${name}' policy='${policy}'/></cpu>`;

describe('comparing', () => {
  it.each([
    ['<cpu><arch>x86_64</arch><model>kvm64</model></cpu>', 'superset'],
    ['<cpu><arch>i686</arch><model>pentium3</model></cpu>', 'incompatible'],
    ['<cpu><arch>x86_64</arch><model>kvm64</model><vendor>AMD</vendor></cpu>', 'superset'],
    ["<cpu><arch>x86_64</arch><model>kvm64</model><feature name='avx'/><feature name='lahf_lm'/></cpu>", 'identical'],
    ["<cpu mode='host-passthrough'/>", 'superset'],
    ['<cpu/>', 'superset'],
    [feature('require'), 'superset'],
    [feature('require', 'vmx'), 'incompatible'],
    [feature('optional', 'vmx'), 'superset'],
    [feature('force', 'vmx'), 'superset'],
    [feature('disable'), 'superset'],
    [feature('forbid', 'vmx'), 'superset'],
  ])('%s: %s', (xml, expected) => {
    expect(compareCpu(parseCpuDescription(xml), OFFERED).result).toBe(expected);
  });

  it.each([
    ['<cpu><arch>x86_64</arch><model>Westmere</model></cpu>', 'not provide required features: pclmuldq, ssse3, sse4.1'],
    [feature('forbid'), 'Host CPU provides forbidden features: avx'],
    [
      "<cpu match='strict'><model>kvm64</model></cpu>",
      'does not strictly match guest CPU: Extra features: avx, lahf_lm',
    ],
    ['<cpu><model>kvm64</model><vendor>Intel</vendor></cpu>', 'does not match required CPU vendor Intel'],
    ['<cpu><arch>aarch64</arch><model>max</model></cpu>', 'CPU arch aarch64 does not match host arch'],
  ])('says why %s will not do', (xml, reason) => {
    const compared = compareCpu(parseCpuDescription(xml), OFFERED);
    expect(compared.result).toBe('incompatible');
    expectError(() => requireCompatible(compared), ErrorCode.CPU_INCOMPATIBLE, reason.replace('pclmuldq, ', ''));
  });

  it.each([
    ['<cpu><model>Nonsense</model></cpu>', ErrorCode.INTERNAL_ERROR, 'Unknown CPU model Nonsense'],
    [feature('require', 'nonsense'), ErrorCode.INTERNAL_ERROR, 'Unknown CPU feature nonsense'],
    [feature('maybe'), ErrorCode.CONFIG_UNSUPPORTED, 'Invalid CPU feature policy'],
    ['<cpu><arch>foo</arch><model>x</model></cpu>', ErrorCode.CONFIG_UNSUPPORTED, 'Unknown architecture foo'],
    ['<cpu><arch>x86_64</arch></cpu>', ErrorCode.XML_ERROR, 'Missing CPU model name'],
    ["<cpu match='near'><model>kvm64</model></cpu>", ErrorCode.XML_ERROR, "attribute 'match' in element 'cpu': 'near'"],
    ['<domain/>', ErrorCode.XML_ERROR, 'the root element is <domain>, not <cpu>'],
    [
      "<cpu><model>kvm64</model><feature name='avx'/><feature name='avx'/></cpu>",
      ErrorCode.XML_ERROR,
      "CPU feature 'avx' specified more than once",
    ],
  ])('refuses %s', (xml, code, message) => {
    expectError(() => compareCpu(parseCpuDescription(xml), OFFERED), code, message);
  });
});

describe('a baseline', () => {
  const of = (...models: readonly string[]): string =>
    baselineCpu(models.map((model) => parseCpuDescription(`<cpu><arch>x86_64</arch><model>${model}</model></cpu>`)));
  const line = (xml: string): string => xml.replaceAll(/\s*\n\s*/g, '');

  it('of one named processor is that name', () => {
    for (const { name, names } of libvirtModels()) {
      if (names === 'all') expect(of(name)).toContain(`<model fallback='forbid'>${name}</model>`);
    }
    expect(of('cpu64-rhel6')).toContain("<model fallback='allow'>kvm64</model>");
  });

  it('names what differs, as libvirt measures it', () => {
    expect(line(of('Haswell', 'Westmere'))).toBe(
      "<cpu mode='custom' match='exact'><model fallback='allow'>Westmere</model></cpu>",
    );
    expect(line(of('Opteron_G5', 'EPYC'))).toContain(
      "Opteron_G4</model><feature policy='require' name='fma'/><feature policy='require' name='f16c'/><feature policy='disable' name='xop'/><feature policy='disable' name='fma4'/></cpu>",
    );
    expect(of('EPYC', 'Haswell')).toContain('>SandyBridge<');
    expect(of('Haswell', 'EPYC')).toContain('>kvm64<');
  });

  it('names all features on demand, without those that cannot move', () => {
    const host = parseCpuDescription(
      "<cpu><arch>x86_64</arch><model>kvm64</model><vendor>AMD</vendor><feature name='invtsc'/><feature name='osxsave'/></cpu>",
    );
    expect(baselineCpu([host])).toContain("<vendor>AMD</vendor>\n  <feature policy='require' name='invtsc'/>\n</cpu>");
    expect(baselineCpu([host], { migratable: true })).not.toContain('invtsc');
    const names = Array.from(
      baselineCpu([host], { expandFeatures: true }).matchAll(/name='([^']+)'/g),
      ([, name]) => name,
    );
    expect(names).toEqual(names.toSorted((a = '', b = '') => (a < b ? -1 : 1)));
    expect(names).toContain('sse2');
  });

  it('keeps to what a hypervisor can give', () => {
    const offered = {
      features: new Set([...featuresOfModel('Haswell')].filter((name) => name !== 'hle')),
      models: new Set(['Haswell']),
    };
    const haswell = parseCpuDescription('<cpu><model>Haswell</model></cpu>');
    expect(baselineCpu([haswell], { offered })).toContain(
      "'forbid'>Haswell</model>\n  <feature policy='disable' name='hle'/>",
    );
  });

  it.each([
    ['Intel', 'Haswell', 'AMD', 'EPYC', 'CPU vendors do not match'],
    ['Acme', 'Haswell', 'Intel', 'Haswell', 'Unknown CPU vendor Acme'],
    ['Intel', 'kvm64', 'AMD', 'Haswell', 'CPU vendor Intel of model Haswell differs from vendor AMD'],
  ])('of %s %s and %s %s is refused', (vendor, model, other, another, message) => {
    const cpu = (name: string, by: string): string =>
      `<cpu><arch>x86_64</arch><model>${name}</model><vendor>${by}</vendor></cpu>`;
    const cpus = [cpu(model, vendor), cpu(another, other)].map((xml) => parseCpuDescription(xml));
    expectError(() => baselineCpu(cpus), ErrorCode.OPERATION_FAILED, message);
  });

  it('is of hosts only', () => {
    const parse = (xml: string) => (): unknown => parseCpuDescription(xml, { hostOnly: true });
    expectError(parse("<cpu mode='host-model'/>"), ErrorCode.CONFIG_UNSUPPORTED, 'Attribute mode is only allowed');
    expectError(parse('<cpu><model>kvm64</model></cpu>'), ErrorCode.XML_ERROR, 'Missing CPU architecture');
  });
});

describe('this host', () => {
  const cpu = { vendor: 'GenuineIntel', family: 6, model: 0x3c, stepping: 3, flags: [] };

  it('is called what it was made as', () => {
    const features = [...featuresOfModel('Haswell'), 'vme'];
    expect(nameHost(hostProcessorOf(cpu, features))).toEqual({
      model: 'Haswell',
      extra: ['vme', 'osxsave'],
      missing: [],
    });
  });

  it('is called an older one where features are masked', () => {
    const features = [...featuresOfModel('Haswell')].filter((name) => name !== 'avx2');
    expect(nameHost(hostProcessorOf(cpu, features)).model).toBe('SandyBridge');
    expect(nameHost(hostProcessorOf({ ...cpu, vendor: 'AuthenticAMD' }, features)).model).toBe('kvm64');
  });

  it("is read from the kernel's flags where CPUID is not given out", () => {
    const { features } = hostProcessorOf(
      { ...cpu, flags: ['sse4_1', 'xsave', 'tsc_deadline_timer', 'rep_good'] },
      undefined,
    );
    expect([...features]).toEqual(['sse4.1', 'xsave', 'tsc-deadline', 'osxsave']);
  });

  it('has a name even without features', () => {
    expect(nameHost(hostProcessorOf(cpu, [])).model).toBe('486');
  });
});

function expectError(body: () => unknown, code: ErrorCode, message: string): void {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(VirtError);
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    return;
  }
  expect.unreachable('it succeeded');
}
