/**
 * What happens to a definition on its way to QEMU, on a made-up host, and what must hold whatever the definition says: refusals
 * are of the three kinds that callers handle, everything ends soon, and what is accepted can be written and read again.
 */

import { VirtError } from '../src/core/errors.ts';
import { assignAliases } from '../src/driver/qemu/aliases.ts';
import { DEFAULT_CONFIG } from '../src/driver/qemu/config.ts';
import { type DomainContext, type DriverContext, PlanContext } from '../src/driver/qemu/context.ts';
import { completeDefinition, validateDefinition } from '../src/driver/qemu/definition/complete.ts';
import { Layout, SYSTEM_ROOTS } from '../src/driver/qemu/layout.ts';
import { type LaunchPlan, planWith } from '../src/driver/qemu/plan/launch-plan.ts';
import { formatCommand, renderArguments } from '../src/driver/qemu/plan/render.ts';
import { FirmwareSelectionError } from '../src/host/firmware-select.ts';
import { formatDomain, parseDomain } from '../src/model/domain/domain.ts';
import { DefinitionError, FaultList } from '../src/model/schema/faults.ts';
import { XmlSyntaxError } from '../src/xml/parse.ts';
import { MOCK_FIRMWARE } from '../tests/conformance/mock-firmware.ts';
import { mockHost } from '../tests/conformance/mock-host.ts';
import { MOCK_LOOKUP } from '../tests/conformance/mock-network.ts';
import { readCapabilities } from './corpus.ts';

/** Longest time for one definition, in milliseconds; generous, as machines under test are busy. */
const PATIENCE_MS = 2000;

/** The made-up host with QEMU for that architecture. */
export function fuzzHost(arch: 'x86_64' | 'aarch64'): DriverContext {
  return {
    caps: readCapabilities(arch),
    host: mockHost(MOCK_FIRMWARE),
    config: { ...DEFAULT_CONFIG, slirpPortForward: true },
    layout: new Layout(SYSTEM_ROOTS),
    lookup: MOCK_LOOKUP,
    hostClock: { nowMs: 1_234_567_890_000, utcOffsetSeconds: 3600 },
    randomBytes: (count) => new Uint8Array(count).fill(7),
  };
}

/** A plan with the arguments that it comes to. */
export interface Planned {
  readonly plan: LaunchPlan;
  readonly args: readonly string[];
  /** The completed definition. */
  readonly xml: string;
}

/**
 * The whole way; undefined where the definition was refused.
 * @throws whatever is not a refusal: a bug
 */
export function tryPlan(xml: string, driver: DriverContext): Planned | undefined {
  const began = performance.now();
  try {
    return planOnce(xml, driver);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (error.message === '') throw new Error('a refusal without a word', { cause: error });
    return undefined;
  } finally {
    const took = performance.now() - began;
    // oxlint-disable-next-line no-unsafe-finally -- a definition that takes for ever is as bad as a wrong error
    if (took > PATIENCE_MS) throw new Error(`planning took ${Math.round(took)} ms`);
  }
}

function planOnce(xml: string, driver: DriverContext): Planned {
  const { domain } = parseDomain(xml, { fileName: 'fuzz.xml' });
  const context: DomainContext = { ...driver, domain, faults: new FaultList() };
  completeDefinition(context);
  validateDefinition(context);
  context.faults.throwIfAny('domain XML', 'fuzz.xml');
  assignAliases(context);
  const plan = planWith(new PlanContext(context, 1));
  const args = renderArguments(plan, driver.caps);
  formatCommand(plan, driver.caps);
  return { plan, args, xml: formatDomain(domain) };
}

/** The errors by which a definition is refused on purpose. */
export function isRefusal(error: unknown): error is Error {
  return (
    error instanceof XmlSyntaxError ||
    error instanceof DefinitionError ||
    error instanceof VirtError ||
    error instanceof FirmwareSelectionError
  );
}

/** @throws Error unless what was read is written such that it reads the same again */
export function checkRoundTrip(xml: string): void {
  let first: string;
  try {
    first = formatDomain(parseDomain(xml).domain);
  } catch (error) {
    if (isRefusal(error)) return;
    throw error;
  }
  const second = formatDomain(parseDomain(first).domain);
  if (first !== second) throw new Error(`written anew it differs:\n${first}\n---\n${second}`);
}
