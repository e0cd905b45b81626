/** Refuses serial ports that the machine, their bus or this QEMU cannot have. */
import type { Serial } from '../../../../model/domain/devices/character-device.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { archOf, machineOf } from '../../machine.ts';
import { validateChardev } from '../chardev-rules.ts';
import { isBoardSerial, isSerialCompatible, SERIAL_ADDRESS, SERIAL_MODEL_TARGET } from './target.ts';

export function validateSerial(serial: Serial, context: DomainContext): void {
  validateChardev(serial, context);
  const type = serial.target?.type;
  const model = serial.target?.model?.name;
  if (type === undefined) return;
  if (model !== undefined && SERIAL_MODEL_TARGET[model] !== type) {
    const needed = SERIAL_MODEL_TARGET[model];
    fault(context, serial, `serial model '${model}' needs target type '${needed}', not '${type}'`, 'target/@type');
  }
  const address = serial.address?.type;
  if (address !== undefined && address !== SERIAL_ADDRESS[type]) {
    const needed = SERIAL_ADDRESS[type] ?? 'no';
    fault(context, serial, `target type '${type}' takes ${needed} address, not '${address}'`, 'address');
  }
  if (!isSerialCompatible(type, model, context.domain)) {
    const machine = `${archOf(context.domain)} machine '${machineOf(context.domain)}'`;
    fault(context, serial, `an ${machine} has no serial port of type '${type}', model '${model ?? ''}'`, 'target');
  } else if (model !== undefined && !isBoardSerial(serial) && !hasDevice(context.caps, model)) {
    fault(context, serial, `this QEMU has no device '${model}'`, 'target/model');
  }
}
