/** What libvirt fills into an input device: the bus that its kind and the architecture suggest. */
import type { Input } from '../../../../model/domain/devices/input.ts';
import type { DomainContext } from '../../context.ts';
import { archOf, isX86 } from '../../machine.ts';

export function fillInputDefaults(input: Input, context: DomainContext): void {
  if (input.bus === 'default' || (input.type === 'evdev' && input.bus === 'none')) delete input.bus;
  if (input.bus === undefined && input.type !== 'evdev') input.bus = defaultBus(input, context);
}

function defaultBus(input: Input, { domain }: DomainContext): Input['bus'] {
  const arch = archOf(domain);
  if (isX86(domain) && (input.type === 'mouse' || input.type === 'keyboard')) return 'ps2';
  return arch.startsWith('s390') || input.type === 'passthrough' ? 'virtio' : 'usb';
}
