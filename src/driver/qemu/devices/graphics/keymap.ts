/** The keyboard layout of a VNC or SPICE client. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { Part } from '../../plan/parts.ts';

export function planKeymap({ keymap }: Graphics): Part[] {
  return keymap === undefined ? [] : [{ kind: 'option', option: 'k', value: keymap }];
}
