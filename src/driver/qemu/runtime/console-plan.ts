/**
 * Which character device of a guest the embedding program holds itself, and where the guest's serial output is
 * logged. Pure.
 */
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { ConsoleChoice } from '../../driver.ts';
import type { PlanContext } from '../context.ts';
import type { Layout } from '../layout.ts';

/** What the planner is told beyond the definition. */
export type ConsolePlan = Pick<PlanContext, 'chardevOverrides' | 'serialLog'>;

/**
 * Sources whose host end is of no use to anybody else while the guest is our child: a terminal whose name only we
 * know, or nothing at all. Files, sockets and devices are the user's own wish and stay.
 */
const OURS = new Set(['pty', 'null', 'vc', 'stdio']);

/** Decides for a definition whose aliases are set. */
export function planConsole(domain: Domain, choice: ConsoleChoice, layout: Layout): ConsolePlan {
  const device = domain.devices?.serials[0] ?? domain.devices?.consoles[0];
  const alias = device?.alias?.name;
  if (device === undefined || alias === undefined) {
    if (choice !== 'always') return {};
    throw new VirtError("it has no serial device or console to attach to: add <serial type='pty'/>", {
      code: ErrorCode.CONFIG_UNSUPPORTED,
    });
  }
  const held = choice === 'always' || (choice === 'auto' && OURS.has(device.type ?? 'pty'));
  const path = device.type === 'file' && held ? device.sources[0]?.path : undefined;
  // Somebody else's file gets what it would have got; every other console is logged from byte 0.
  const serialLog =
    path === undefined
      ? { alias, path: layout.serialLogFile(domain.name ?? ''), append: false }
      : { alias, path, append: device.sources[0]?.append === true };
  return held ? { chardevOverrides: new Map([[alias, { kind: 'socketpair' }]]), serialLog } : { serialLog };
}
