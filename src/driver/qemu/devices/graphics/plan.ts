/** Displays as QEMU's options. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import { hasFeature } from '../../capabilities/capabilities.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { planDbus, planRdp } from './dbus.ts';
import { renderNodeOf } from './render-node.ts';
import { planSpice } from './spice.ts';
import { planVnc } from './vnc.ts';

/** The options of all displays; QEMU opens a window of its own unless told that there is none. */
export function planGraphics(context: PlanContext): Part[] {
  const all = context.domain.devices?.graphics ?? [];
  if (all.length === 0) return [{ kind: 'option', option: 'display', value: 'none' }];
  return all.flatMap((graphics) => planOne(graphics, context));
}

function planOne(graphics: Graphics, context: PlanContext): Part[] {
  switch (graphics.type) {
    case 'vnc':
      return planVnc(graphics, context);
    case 'spice':
      return planSpice(graphics, context);
    case 'sdl':
      return planSdl(graphics, context);
    case 'egl-headless':
      return planEglHeadless(graphics, context);
    case 'dbus':
      return planDbus(graphics, context);
    case 'rdp':
      return planRdp(graphics, context);
    default:
      // The desktop of another hypervisor: refused when validated.
      return [];
  }
}

function planSdl(graphics: Graphics, context: PlanContext): Part[] {
  const { xauth, display } = graphics;
  if (xauth !== undefined) context.environment.XAUTHORITY = xauth;
  if (display !== undefined) context.environment.DISPLAY = display;
  const fullScreen: Part[] = graphics.fullscreen === true ? [{ kind: 'option', option: 'full-screen' }] : [];
  const props = { type: 'sdl', gl: graphics.gl?.enable };
  return [...fullScreen, { kind: 'keyval', option: 'display', implied: 'type', props }];
}

function planEglHeadless(graphics: Graphics, context: PlanContext): Part[] {
  const takesNode = hasFeature(context.caps, 'display-egl-headless-rendernode');
  const rendernode = takesNode ? renderNodeOf(graphics, context) : undefined;
  return [{ kind: 'keyval', option: 'display', implied: 'type', props: { type: 'egl-headless', rendernode } }];
}
