/** Firmware descriptors of the mocked host, in the order in which a host would try them: Fedora's, by file name. */
import type { FirmwareDescriptor, FirmwareMapping } from '../../src/host/firmware.ts';

const EDK2 = '/usr/share/edk2/ovmf';
const Q35 = ['pc-q35-*'];
const PC = ['pc-i440fx-*', 'pc-q35-*'];
const SECURE = ['acpi-s3', 'requires-smm', 'secure-boot', 'verbose-dynamic'];
const PLAIN = ['acpi-s3', 'amd-sev', 'amd-sev-es', 'verbose-dynamic'];

function descriptor(
  name: string,
  interfaceType: string,
  mapping: FirmwareMapping,
  machines: readonly string[],
  features: readonly string[],
): FirmwareDescriptor {
  const architectures = interfaceType === 'bios' ? ['i386', 'x86_64'] : ['x86_64'];
  return {
    source: `/usr/share/qemu/firmware/${name}.json`,
    description: name,
    interfaceTypes: [interfaceType],
    mapping,
    targets: architectures.map((architecture) => ({ architecture, machines })),
    features,
  };
}

function split(code: string, variables: string): FirmwareMapping {
  const format = code.endsWith('.qcow2') ? 'qcow2' : 'raw';
  return {
    device: 'flash',
    mode: 'split',
    executable: { path: `${EDK2}/${code}`, format },
    nvramTemplate: { path: `${EDK2}/${variables}`, format },
  };
}

/** All of them. */
export const MOCK_FIRMWARE: readonly FirmwareDescriptor[] = [
  descriptor('30-4m-sb-keys', 'uefi', split('OVMF_CODE_4M.secboot.qcow2', 'OVMF_VARS_4M.secboot.qcow2'), Q35, [
    ...SECURE,
    'enrolled-keys',
  ]),
  descriptor('31-2m-sb-keys', 'uefi', split('OVMF_CODE.secboot.fd', 'OVMF_VARS.secboot.fd'), Q35, [
    ...SECURE,
    'enrolled-keys',
  ]),
  descriptor('40-4m-sb', 'uefi', split('OVMF_CODE_4M.secboot.qcow2', 'OVMF_VARS_4M.qcow2'), Q35, SECURE),
  descriptor('41-2m-sb', 'uefi', split('OVMF_CODE.secboot.fd', 'OVMF_VARS.fd'), Q35, SECURE),
  descriptor('50-4m', 'uefi', split('OVMF_CODE_4M.qcow2', 'OVMF_VARS_4M.qcow2'), PC, PLAIN),
  descriptor('51-2m', 'uefi', split('OVMF_CODE.fd', 'OVMF_VARS.fd'), PC, PLAIN),
  descriptor(
    '60-amdsev',
    'uefi',
    { device: 'flash', mode: 'stateless', executable: { path: `${EDK2}/OVMF.amdsev.fd`, format: 'raw' } },
    Q35,
    ['amd-sev', 'amd-sev-es', 'amd-sev-snp', 'verbose-dynamic'],
  ),
  descriptor(
    '91-bios',
    'bios',
    { device: 'memory', executable: { path: '/usr/share/seabios/bios-256k.bin', format: 'raw' } },
    PC,
    ['acpi-s3', 'acpi-s4'],
  ),
];
