/** Completes a `<serial>`: bus and model by machine. Ports were numbered before (`definition/console-defaults.ts`). */
import type { Serial } from '../../../../model/domain/devices/character-device.ts';
import type { DomainContext } from '../../context.ts';
import { fillChardevDefaults } from '../chardev-rules.ts';
import { defaultSerialModel, defaultSerialTarget } from './target.ts';

export function fillSerialDefaults(serial: Serial, { domain }: DomainContext): void {
  fillChardevDefaults(serial);
  serial.target ??= {};
  const { target } = serial;
  // 'isa-serial' has always stood for "the usual port", on machines without ISA too.
  const written = target.type === 'isa-serial' ? undefined : target.type;
  const type = written ?? defaultSerialTarget(domain);
  if (type === undefined) delete target.type;
  else target.type = type;
  const model = type === undefined ? undefined : defaultSerialModel(type, domain);
  if (target.model === undefined && model !== undefined) target.model = { name: model };
}
