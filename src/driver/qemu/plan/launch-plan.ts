/**
 * The launch plan: everything needed to start one guest, as data. Pure: the definition, QEMU's capabilities and the
 * host's facts go in, arguments, descriptors, files, helpers and first commands come out. `render.ts` writes it out.
 */
import { parseDomain } from '../../../model/domain/domain.ts';
import { FaultList } from '../../../model/schema/faults.ts';
import { assignAliases } from '../aliases.ts';
import { type DomainContext, type DriverContext, PlanContext } from '../context.ts';
import { completeDefinition, validateDefinition } from '../definition/complete.ts';
import { FAMILIES } from '../devices/families.ts';
import { applyOverrides } from '../sections/qemu-commandline.ts';
import type { DeferredCommand, FdRequest, FileRequest, HelperProcess, Part } from './parts.ts';
import { FIRST_SECTIONS, LAST_SECTIONS, SECTIONS } from './sections.ts';

export interface LaunchPlan {
  /** QEMU's path. */
  readonly binary: string;
  readonly parts: readonly Part[];
  /** Inherited descriptors, the first one being 3 in QEMU. */
  readonly fds: readonly FdRequest[];
  readonly files: readonly FileRequest[];
  readonly helpers: readonly HelperProcess[];
  /** QMP commands before the guest's first instruction. */
  readonly deferred: readonly DeferredCommand[];
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * Plans a completed and validated definition.
 * @param id the number of the guest, -1 for a plan that is only looked at
 * @throws {DefinitionError} when planning finds what validation could not
 * @throws {VirtError} for what cannot be planned at all
 */
export function planLaunch(context: DomainContext, id: number): LaunchPlan {
  assignAliases(context);
  return planWith(context instanceof PlanContext ? context : new PlanContext(context, id));
}

/** Plans with a context that the caller has prepared (console overrides, reserved descriptors). Aliases are set. */
export function planWith(context: PlanContext): LaunchPlan {
  const parts: Part[] = [];
  for (const section of SECTIONS) parts.push(...section(context));
  for (const family of FAMILIES) {
    for (const device of family.select(context.domain)) parts.push(...family.plan(device, context));
  }
  for (const section of LAST_SECTIONS) parts.push(...section(context));
  parts.unshift(...FIRST_SECTIONS.flatMap((section) => section(context)));
  context.faults.throwIfAny('domain XML', context.fileName);
  return {
    binary: context.domain.devices?.emulator ?? context.caps.binary,
    parts: applyOverrides(parts, context),
    fds: context.fds,
    files: context.files,
    helpers: context.helpers,
    deferred: context.deferred,
    environment: context.environment,
  };
}

/**
 * From XML to a plan in one go, for looking at (`domxml-to-native`).
 * @throws {XmlSyntaxError | DefinitionError | VirtError}
 */
export function planFromXml(xml: string, driver: DriverContext, options: { fileName?: string } = {}): LaunchPlan {
  const { domain } = parseDomain(xml, options);
  const context: DomainContext = { ...driver, domain, faults: new FaultList() };
  completeDefinition(context);
  validateDefinition(context);
  context.faults.throwIfAny('domain XML', options.fileName);
  return planLaunch(context, NOT_STARTED);
}

/** Id of a guest that is only looked at. */
const NOT_STARTED = -1;
