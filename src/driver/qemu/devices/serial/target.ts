/** Which serial port a machine has by default, and what each model needs. Tables and look-ups, no checks. */
import type { Address } from '../../../../model/domain/devices/address.ts';
import type { SERIAL_MODELS, SERIAL_TARGETS, Serial } from '../../../../model/domain/devices/character-device.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { archOf, isArm, isVirtBoard, isX86, machineOf } from '../../machine.ts';

export type SerialTarget = (typeof SERIAL_TARGETS)[number];
export type SerialModel = (typeof SERIAL_MODELS)[number];

/** Each model's bus, and the address that goes with it. */
export const SERIAL_MODEL_TARGET: Readonly<Record<SerialModel, SerialTarget>> = {
  'isa-serial': 'isa-serial',
  'usb-serial': 'usb-serial',
  'pci-serial': 'pci-serial',
  'spapr-vty': 'spapr-vio-serial',
  pl011: 'system-serial',
  '16550a': 'system-serial',
  sclpconsole: 'sclp-serial',
  sclplmconsole: 'sclp-serial',
  'isa-debugcon': 'isa-debug',
};

/** Address type of each bus; the others have no address. */
export const SERIAL_ADDRESS: Readonly<Partial<Record<SerialTarget, Address['type']>>> = {
  'isa-serial': 'isa',
  'isa-debug': 'isa',
  'usb-serial': 'usb',
  'pci-serial': 'pci',
  'spapr-vio-serial': 'spapr-vio',
};

/** The bus of a serial port that names none; undefined where the board decides. */
export function defaultSerialTarget(domain: Domain): SerialTarget | undefined {
  if (isX86(domain)) return 'isa-serial';
  if (isPseries(domain)) return 'spapr-vio-serial';
  if (isVirtBoard(domain)) return 'system-serial';
  if (isS390(domain)) return 'sclp-serial';
  return undefined;
}

/** The model of a serial port that names none. */
export function defaultSerialModel(target: SerialTarget, domain: Domain): SerialModel | undefined {
  switch (target) {
    case 'spapr-vio-serial':
      return 'spapr-vty';
    case 'sclp-serial':
      return 'sclpconsole';
    case 'isa-debug':
      return 'isa-debugcon';
    case 'system-serial':
      if (isArm(domain) && isVirtBoard(domain)) return 'pl011';
      return has16550(domain) ? '16550a' : undefined;
    default:
      return target;
  }
}

/** Whether the machine can have that port. */
export function isSerialCompatible(target: SerialTarget, model: SerialModel | undefined, domain: Domain): boolean {
  switch (target) {
    case 'isa-serial':
    case 'isa-debug':
      return isX86(domain);
    case 'spapr-vio-serial':
      return isPseries(domain);
    case 'sclp-serial':
      return isS390(domain);
    case 'system-serial':
      return model === '16550a' ? has16550(domain) : isArm(domain) && isVirtBoard(domain);
    default:
      return true;
  }
}

/** The port is part of the board: QEMU connects it with `-serial`, not with `-device`. */
export function isBoardSerial(serial: Serial): boolean {
  const model = serial.target?.model?.name;
  return serial.target?.type === undefined || model === 'pl011' || model === '16550a';
}

export function isS390(domain: Domain): boolean {
  return archOf(domain) === 's390x';
}

export function isPseries(domain: Domain): boolean {
  return archOf(domain).startsWith('ppc64') && /^pseries(?:-|$)/.test(machineOf(domain));
}

function has16550(domain: Domain): boolean {
  return /^(?:riscv|loongarch)/.test(archOf(domain)) && isVirtBoard(domain);
}
