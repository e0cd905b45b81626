import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../../tests/support/plan-context.ts';
import type { FirmwareDescriptor } from '../../../host/firmware.ts';
import { validateFirmware } from '../definition/firmware-validate.ts';
import { fillMachineDefaults } from '../definition/machine-defaults.ts';
import { pflashProps, planFirmware } from './firmware.ts';

const targets = [{ architecture: 'x86_64', machines: ['pc-q35-*', 'pc-i440fx-*'] }];

function uefi(name: string, features: string[], format = 'raw'): FirmwareDescriptor {
  const suffix = format === 'raw' ? 'fd' : 'qcow2';
  return {
    source: `/firmware/${name}.json`,
    description: name,
    interfaceTypes: ['uefi'],
    mapping: {
      device: 'flash',
      mode: 'split',
      executable: { path: `/fw/${name}.${suffix}`, format },
      nvramTemplate: { path: `/fw/${name}_VARS.${suffix}`, format },
    },
    targets,
    features,
  };
}

const DESCRIPTORS: FirmwareDescriptor[] = [
  uefi('secure', ['secure-boot', 'enrolled-keys', 'requires-smm']),
  uefi('plain', []),
  uefi('plain4m', [], 'qcow2'),
  {
    source: '/firmware/bios.json',
    description: 'bios',
    interfaceTypes: ['bios'],
    mapping: { device: 'memory', executable: { path: '/fw/bios.bin', format: 'raw' } },
    targets,
    features: [],
  },
];

function complete(os: string, features = '<acpi/>') {
  const context = planContext(domainXml(`${os}<features>${features}</features>`), {
    host: { firmware: { descriptors: DESCRIPTORS, problems: [] } },
  });
  fillMachineDefaults(context);
  validateFirmware(context);
  return context;
}

const Q35 = "<type machine='q35'>hvm</type>";

describe("the setting 'nvram'", () => {
  const template = (descriptors: FirmwareDescriptor[]): string | undefined => {
    const os = `<os>${Q35}<loader readonly='yes' type='pflash'>/own/code.fd</loader><nvram>/vars</nvram></os>`;
    const context = planContext(domainXml(os), {
      host: { firmware: { descriptors, problems: [] } },
      config: { firmwares: { '/own/code.fd': '/own/vars.fd' } },
    });
    fillMachineDefaults(context);
    return context.domain.os?.nvram?.template;
  };

  it('counts where the host has no descriptors, as with libvirt', () => {
    expect(template([])).toBe('/own/vars.fd');
    expect(template(DESCRIPTORS)).toBeUndefined();
  });
});

describe('choosing a firmware', () => {
  it('takes the first that fits, with the system management that it needs', () => {
    const context = complete(`<os firmware='efi'>${Q35}</os>`);
    const { os, features } = context.domain;
    expect(faultsOf(context)).toEqual([]);
    expect(os?.loader).toEqual({ readonly: true, secure: true, type: 'pflash', format: 'raw', value: '/fw/secure.fd' });
    expect(os?.nvram).toEqual({
      template: '/fw/secure_VARS.fd',
      templateFormat: 'raw',
      format: 'raw',
      value: '/var/lib/libvirt/qemu/nvram/guest_VARS.fd',
    });
    expect(features?.smm?.state).toBe(true);
    expect(os?.firmwareFeatures?.features).toEqual([
      { name: 'enrolled-keys', enabled: true },
      { name: 'secure-boot', enabled: true },
    ]);
  });

  it('obeys what the definition rules out', () => {
    const { os } = complete(`<os firmware='efi'>${Q35}</os>`, "<acpi/><smm state='off'/>").domain;
    expect(os?.loader?.value).toBe('/fw/plain.fd');
  });

  it('follows a wish for an image format, and names the variables after it', () => {
    const { os } = complete(`<os firmware='efi'>${Q35}<nvram format='qcow2'/></os>`).domain;
    expect(os?.loader?.value).toBe('/fw/plain4m.qcow2');
    expect(os?.nvram?.value).toBe('/var/lib/libvirt/qemu/nvram/guest_VARS.qcow2');
  });

  it('recognizes a firmware given by its file', () => {
    const { os } = complete(`<os>${Q35}<loader readonly='yes' type='pflash'>/fw/plain.fd</loader></os>`).domain;
    expect(os?.firmware).toBe('efi');
    expect(os?.nvram?.template).toBe('/fw/plain_VARS.fd');
  });

  it('leaves a custom build as it is', () => {
    const context = complete(`<os>${Q35}<loader readonly='yes' type='pflash'>/my/OVMF.fd</loader></os>`);
    expect(faultsOf(context)).toEqual([]);
    expect(context.domain.os?.firmware).toBeUndefined();
    expect(context.domain.os?.nvram).toEqual({ format: 'raw', value: '/var/lib/libvirt/qemu/nvram/guest_VARS.fd' });
  });

  it('does not replace a file that was asked for', () => {
    const context = complete(`<os firmware='efi'>${Q35}<loader type='pflash'>/my/OVMF.fd</loader></os>`);
    expect(faultsOf(context)).toEqual([expect.stringContaining('/my/OVMF.fd')]);
  });
});

describe('planning firmware', () => {
  it('makes flash of block nodes, file names with commas included', () => {
    const context = complete(
      `<os>${Q35}<loader readonly='yes' type='pflash'>/my/a,b.fd</loader><nvram template='/t,x'>/v,driver=x</nvram></os>`,
    );
    expect(planFirmware(context)).toEqual([
      {
        kind: 'blockdev',
        props: {
          driver: 'file',
          filename: '/my/a,b.fd',
          'node-name': 'libvirt-pflash0-storage',
          'auto-read-only': true,
          discard: 'unmap',
        },
      },
      {
        kind: 'blockdev',
        props: {
          'node-name': 'libvirt-pflash0-format',
          'read-only': true,
          driver: 'raw',
          file: 'libvirt-pflash0-storage',
        },
      },
      {
        kind: 'blockdev',
        props: {
          driver: 'file',
          filename: '/v,driver=x',
          'node-name': 'libvirt-pflash1-storage',
          'read-only': false,
        },
      },
    ]);
    expect(pflashProps(context)).toEqual({ pflash0: 'libvirt-pflash0-format', pflash1: 'libvirt-pflash1-storage' });
    expect(context.files).toEqual([{ kind: 'copy', path: '/v,driver=x', template: '/t,x', mode: 0o600 }]);
  });

  it('converts a template of another format', () => {
    const context = complete(
      `<os>${Q35}<loader readonly='yes' type='pflash'>/my/a.fd</loader><nvram template='/t' templateFormat='raw' format='qcow2'/></os>`,
    );
    planFirmware(context);
    expect(context.files).toMatchObject([{ format: { from: 'raw', to: 'qcow2' } }]);
  });

  it('reaches variables over the network', () => {
    const context = complete(
      `<os firmware='efi'>${Q35}<nvram type='network'><source protocol='nbd' name='v'><host name='h' port='6000'/></source></nvram></os>`,
    );
    expect(planFirmware(context)).toContainEqual({
      kind: 'blockdev',
      props: expect.objectContaining({ driver: 'nbd', export: 'v', 'node-name': 'libvirt-pflash1-storage' }),
    });
    expect(context.domain.os?.nvram?.template).toBeUndefined();
    expect(context.files).toEqual([]);
  });

  it('gives a BIOS with -bios', () => {
    const context = complete('<os><loader>/my/bios.bin</loader></os>', '');
    expect(planFirmware(context)).toEqual([{ kind: 'option', option: 'bios', value: '/my/bios.bin' }]);
    expect(context.domain.os?.loader).toEqual({ type: 'rom', format: 'raw', value: '/my/bios.bin' });
  });
});

describe('refusals', () => {
  const cases: [string, string, RegExp][] = [
    ['a BIOS with variables', "<os firmware='bios'><nvram>/v</nvram></os>", /keeps no variables/],
    ['a loader without a file', "<os><loader type='pflash'/></os>", /names no file/],
    ['variables of a ROM', "<os><loader stateless='no'>/b</loader></os>", /only a loader of type='pflash'/],
    ['a ROM to write to', "<os><loader readonly='no' type='rom'>/b</loader></os>", /cannot be written to/],
    [
      'stateless variables',
      "<os><loader type='pflash' stateless='yes'>/b</loader><nvram>/v</nvram></os>",
      /remove <nvram>/,
    ],
    [
      'a stateless template',
      "<os><loader type='pflash' stateless='yes'>/b</loader><nvram template='/v'/></os>",
      /no use for a template/,
    ],
    [
      'keys without secure boot',
      "<os firmware='efi'><firmware><feature name='enrolled-keys' enabled='yes'/><feature name='secure-boot' enabled='no'/></firmware></os>",
      /needs secure-boot/,
    ],
  ];
  it.each(cases)('%s', (_name, os, expected) => {
    expect(faultsOf(complete(os))).toEqual([expect.stringMatching(expected)]);
  });

  it('UEFI without ACPI', () => {
    expect(faultsOf(complete(`<os firmware='efi'>${Q35}</os>`, ''))).toEqual([expect.stringContaining('ACPI')]);
  });
});
