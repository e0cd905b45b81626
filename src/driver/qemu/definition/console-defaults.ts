/**
 * The old tie between `<console>` and `<serial>`: of a full machine, the first console is the first serial port
 * seen again. Also numbers the ports. Runs on the whole domain, before the families complete their devices.
 */

import type { Console, Serial } from '../../../model/domain/devices/character-device.ts';
import type { ChardevSource } from '../../../model/domain/devices/chardev-source.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { DomainContext } from '../context.ts';

/** Buses whose first port doubles as a console. */
const CONSOLE_BUSES: ReadonlySet<string | undefined> = new Set([
  'isa-serial',
  'spapr-vio-serial',
  'system-serial',
  'sclp-serial',
  undefined,
]);

/** Ties console and serial port together and numbers serial and parallel ports and consoles. */
export function fillConsoleDefaults({ domain }: DomainContext): void {
  const { devices } = domain;
  if (devices === undefined) return;
  if ((domain.os?.type?.value ?? 'hvm') === 'hvm') tieConsole(devices.serials, devices.consoles);
  numberPorts(devices.serials);
  numberPorts(devices.parallels);
  devices.consoles.forEach((device, index) => {
    const mirrored = index === 0 && device.target?.type === 'serial' ? devices.serials[0]?.target?.port : undefined;
    device.target = { ...device.target, port: mirrored ?? index };
  });
}

function tieConsole(serials: Serial[], consoles: Console[]): void {
  const first = consoles[0];
  const isSerial = first !== undefined && (first.target?.type === undefined || first.target.type === 'serial');
  if (isSerial) {
    if (serials.length === 0) serials.push(serialOf(first));
    const serial = serials[0];
    if (serial !== undefined) consoles[0] = mirrorOf(serial);
  } else {
    const serial = serials[0];
    if (serial !== undefined && CONSOLE_BUSES.has(serial.target?.type)) consoles.unshift(mirrorOf(serial));
  }
}

/** The serial port that a lone console stands for. */
function serialOf(device: Console): Serial {
  const { tty: _tty, target, ...rest } = device;
  return { ...rest, target: { port: target?.port ?? 0 } };
}

/** The console that shows a serial port; it has no address and no identity of its own. */
function mirrorOf(serial: Serial): Console {
  const { type, sources, protocol, log } = cloneDefinition<ChardevSource>(serial);
  return { type: type ?? 'pty', sources, protocol, log, target: { type: 'serial', port: 0 } };
}

/** Ports without a number follow the highest one that any has. */
function numberPorts(devices: { target?: { port?: number | undefined } | undefined }[]): void {
  let highest = Math.max(-1, ...devices.map(({ target }) => target?.port ?? -1));
  for (const device of devices) {
    if (device.target?.port === undefined) device.target = { ...device.target, port: ++highest };
  }
}
