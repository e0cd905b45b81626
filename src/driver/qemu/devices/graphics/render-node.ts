/** The host's device that draws for a display with OpenGL. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { PlanContext } from '../../context.ts';

/** The node that the definition names, else the host's; undefined leaves the choice to QEMU. */
export function renderNodeOf(graphics: Graphics, context: PlanContext): string | undefined {
  return graphics.gl?.rendernode ?? context.lookup.renderNode?.();
}
