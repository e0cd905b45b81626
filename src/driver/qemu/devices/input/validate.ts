/** What libvirt and QEMU refuse of input devices. */
import type { Input } from '../../../../model/domain/devices/input.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { virtioInputName } from './names.ts';

export function validateInput(input: Input, context: DomainContext): void {
  validateBus(input, context);
  validateSource(input, context);
  if (input.model === 'virtio-transitional' || input.model === 'virtio-non-transitional') {
    validateTransitional(input, context);
  }
  validateSupport(input, context);
}

function validateBus(input: Input, context: DomainContext): void {
  const { bus, type } = input;
  const refuse = (message: string) => fault(context, input, message, '@bus');
  if (input.model === 'virtio' && bus !== 'virtio') {
    refuse("model 'virtio' sits on bus 'virtio' only");
  } else if (type === 'evdev') {
    if (bus !== undefined)
      refuse("input type 'evdev' takes no bus: its events reach the guest through its own devices");
  } else if (type === 'passthrough' && bus !== 'virtio') {
    refuse("input type 'passthrough' needs bus='virtio'");
  } else if (bus === 'ps2' && type !== 'mouse' && type !== 'keyboard') {
    refuse(`bus 'ps2' has no ${type}: use bus='usb' or bus='virtio'`);
  } else if (bus === 'xen' || bus === 'parallels' || bus === 'none') {
    refuse(`QEMU has no input bus '${bus}': use ps2, usb or virtio`);
  } else if (bus === 'usb' && usbIsOff(context)) {
    refuse('the guest has no USB: remove the controller of type usb and model none, or use another bus');
  }
}

function usbIsOff({ domain }: DomainContext): boolean {
  return domain.devices?.controllers.some(({ type, model }) => type === 'usb' && model === 'none') === true;
}

function validateSource(input: Input, context: DomainContext): void {
  const { source, type } = input;
  if (type === 'passthrough') {
    if (source?.evdev === undefined) fault(context, input, 'name the host device: <source evdev=…/>', 'source');
  } else if (type === 'evdev') {
    if (source?.dev === undefined) fault(context, input, 'name the host device: <source dev=…/>', 'source');
  } else if (source?.evdev !== undefined) {
    fault(context, input, "a host device goes with input type 'passthrough' or 'evdev' only", 'source/@evdev');
  }
}

function validateTransitional(input: Input, context: DomainContext): void {
  if (input.type !== 'passthrough') {
    fault(context, input, `a virtio ${input.type} has no transitional models: leave out the model`, '@model');
  } else if (input.address !== undefined && input.address.type !== 'pci') {
    fault(
      context,
      input,
      `model '${input.model}' exists on PCI only, not at a ${input.address.type} address`,
      '@model',
    );
  }
}

function validateSupport(input: Input, context: DomainContext): void {
  const { caps } = context;
  if (input.type === 'evdev') {
    if (!hasDevice(caps, 'input-linux')) fault(context, input, `${caps.binary} has no input-linux object`, '@type');
    return;
  }
  if (input.bus !== 'virtio') return;
  const base = virtioInputName(input.type);
  if (!['pci', 'device', 'ccw'].some((transport) => hasDevice(caps, `${base}-${transport}`))) {
    fault(context, input, `${caps.binary} has no ${base}: use bus='usb'`, '@bus');
  }
}
