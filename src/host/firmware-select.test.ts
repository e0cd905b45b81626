/** Which firmware a guest gets, among descriptors like those that distributions ship. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FirmwareDescriptor, FirmwareMapping } from './firmware.ts';
import { type FirmwareRequest, FirmwareSelectionError, selectFirmware } from './firmware-select.ts';

function descriptor(source: string, features: string[], change: Partial<FirmwareDescriptor> = {}): FirmwareDescriptor {
  const targets = [{ architecture: 'x86_64', machines: ['pc-q35-*'] }];
  return { source, description: '', interfaceTypes: ['uefi'], mapping: split(source), targets, features, ...change };
}

function split(name: string, format = 'raw'): FirmwareMapping {
  return {
    device: 'flash',
    mode: 'split',
    executable: { path: `/fw/${name}.code`, format },
    nvramTemplate: { path: `/fw/${name}.vars`, format },
  };
}

const SECURE = ['acpi-s3', 'requires-smm', 'secure-boot'];
const BOTH_MACHINES = [{ architecture: 'x86_64', machines: ['pc-i440fx-*', 'pc-q35-*'] }];
const ALL = [
  descriptor('30-qcow2', ['enrolled-keys', ...SECURE], { mapping: split('30-qcow2', 'qcow2') }),
  descriptor('40-enrolled', ['enrolled-keys', ...SECURE]),
  descriptor('50-secure', SECURE),
  descriptor('60-plain', ['acpi-s3', 'amd-sev'], { targets: BOTH_MACHINES }),
  descriptor('70-stateless', ['amd-sev', 'amd-sev-snp'], {
    mapping: { device: 'flash', mode: 'stateless', executable: { path: '/fw/sev', format: 'raw' } },
  }),
  descriptor('75-combined', [], {
    mapping: { device: 'flash', mode: 'combined', executable: { path: '/fw/all', format: 'raw' } },
  }),
  descriptor('80-kernel', [], { mapping: { device: 'kernel', executable: { path: '/fw/kernel', format: 'raw' } } }),
  descriptor('90-bios', ['acpi-s3', 'acpi-s4'], {
    interfaceTypes: ['bios'],
    targets: BOTH_MACHINES,
    mapping: { device: 'memory', executable: { path: '/fw/bios', format: 'raw' } },
  }),
];

const Q35: FirmwareRequest = { type: 'efi', arch: 'x86_64', machine: 'pc-q35-7.2' };
const choose = (request: Partial<FirmwareRequest> = {}) => selectFirmware(ALL, { ...Q35, ...request });

describe('selectFirmware', () => {
  it.each<[string, Partial<FirmwareRequest>, string]>([
    ['nothing in particular: the first raw one', {}, '40-enrolled'],
    ['another machine', { machine: 'pc-i440fx-7.2' }, '60-plain'],
    ['BIOS', { type: 'bios' }, '90-bios'],
    ['secure boot', { secureBoot: true }, '40-enrolled'],
    ['secure boot without keys', { secureBoot: true, enrolledKeys: false }, '50-secure'],
    ['no keys', { enrolledKeys: false }, '50-secure'],
    ['no secure boot', { secureBoot: false }, '60-plain'],
    ['an insecure loader', { loader: { secure: false } }, '60-plain'],
    ['a secure loader', { loader: { secure: true } }, '40-enrolled'],
    ['SMM off', { smm: false }, '60-plain'],
    ['a feature', { features: ['amd-sev'] }, '60-plain'],
    ['no variables', { loader: { stateless: true } }, '70-stateless'],
    ['a writable loader', { loader: { readonly: false } }, '75-combined'],
    ['a qcow2 loader', { loader: { format: 'qcow2' } }, '30-qcow2'],
    ['qcow2 variables', { nvram: { format: 'qcow2' } }, '30-qcow2'],
    ['raw variables', { nvram: { format: 'raw' } }, '40-enrolled'],
    ['a loader by path', { loader: { path: '/fw/50-secure.code' } }, '50-secure'],
    ['a qcow2 loader by path', { loader: { path: '/fw/30-qcow2.code' } }, '30-qcow2'],
    ['a template by path', { nvram: { template: '/fw/60-plain.vars' } }, '60-plain'],
    ['pflash', { loader: { type: 'pflash' } }, '40-enrolled'],
    ['ROM', { type: 'bios', loader: { type: 'rom' } }, '90-bios'],
  ])('%s', (_name, request, expected) => {
    expect(choose(request).descriptor.source).toBe(expected);
  });

  it('says what comes with the choice', () => {
    expect(choose()).toMatchObject({
      secureBoot: true,
      enrolledKeys: true,
      requiresSmm: true,
      mapping: { executable: { path: '/fw/40-enrolled.code' }, nvramTemplate: { path: '/fw/40-enrolled.vars' } },
    });
    expect(choose({ secureBoot: false })).toMatchObject({ secureBoot: false, enrolledKeys: false, requiresSmm: false });
  });

  it('takes another format where there is no raw one', () => {
    expect(selectFirmware(ALL.slice(0, 1), Q35).descriptor.source).toBe('30-qcow2');
  });

  it.each<[string, Partial<FirmwareRequest>, string, string[]]>([
    ['another architecture', { arch: 'riscv64' }, 'machine riscv64 pc-q35-7.2', ['30-qcow2']],
    ['secure boot on i440fx', { machine: 'pc-i440fx-7.2', secureBoot: true }, 'secure-boot', ['60-plain']],
    ['an unknown feature', { features: ['intel-tdx'] }, 'intel-tdx', ['40-enrolled']],
    ['a path nobody describes', { loader: { path: '/fw/own' } }, 'loader /fw/own', ['60-plain']],
    ['a template nobody describes', { nvram: { template: '/fw/own' } }, 'NVRAM template /fw/own', ['60-plain']],
    ['variables for BIOS', { type: 'bios', nvram: { template: '/v' } }, 'NVRAM template /v', ['90-bios']],
    ['secure and stateless', { secureBoot: true, loader: { stateless: true } }, 'stateless=yes', ['50-secure']],
  ])('names the requirement that fails: %s', (_name, request, requirement, rejected) => {
    const error = catchError(() => choose(request));
    expect(error).toBeInstanceOf(FirmwareSelectionError);
    expect(error).toMatchObject({ requirement, rejected: expect.arrayContaining(rejected) });
    expect((error as Error).message).toContain(requirement);
  });

  it('says so when there are no descriptors', () => {
    expect(() => selectFirmware([], Q35)).toThrow(/no firmware descriptor was found/);
  });

  it('matches globs literally but for * and ?', () => {
    const odd = (pattern: string) =>
      descriptor('odd', [], { targets: [{ architecture: 'x86_64', machines: [pattern] }] });
    expect(() => selectFirmware([odd('pc-q35-7x2')], Q35)).toThrow();
    expect(() => selectFirmware([odd('pc-q35-7.2')], { ...Q35, machine: 'pc-q35-7x2' })).toThrow();
    expect(selectFirmware([odd('pc-?35-*')], Q35).descriptor.source).toBe('odd');
    expect(() => selectFirmware([odd('q35-*')], Q35)).toThrow();
  });

  it('never chooses what breaks a wish, whatever is wished for', () => {
    const wish = fc.option(fc.boolean(), { nil: undefined });
    fc.assert(
      fc.property(wish, wish, wish, wish, (secureBoot, enrolledKeys, secure, stateless) => {
        const loader = { ...(secure !== undefined && { secure }), ...(stateless !== undefined && { stateless }) };
        const wishes = {
          ...(secureBoot !== undefined && { secureBoot }),
          ...(enrolledKeys !== undefined && { enrolledKeys }),
        };
        let choice: ReturnType<typeof choose>;
        try {
          choice = choose({ ...wishes, loader });
        } catch (error) {
          return error instanceof FirmwareSelectionError;
        }
        return (
          (secureBoot === undefined || choice.secureBoot === secureBoot) &&
          (enrolledKeys === undefined || choice.enrolledKeys === enrolledKeys) &&
          (secure === undefined || choice.requiresSmm === secure) &&
          (stateless !== true || !('nvramTemplate' in choice.mapping))
        );
      }),
      { numRuns: 81 },
    );
  });
});

function catchError(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
