/** Plans every case of the referee with our planner and compares the outcomes. */
import { readFileSync } from 'node:fs';
import type { QemuCapabilities } from '../../src/driver/qemu/capabilities/capabilities.ts';
import { capabilitiesFromDialogue, nameMachinesByAlias } from '../../src/driver/qemu/capabilities/dialogue.ts';
import { DEFAULT_CONFIG } from '../../src/driver/qemu/config.ts';
import type { DriverContext } from '../../src/driver/qemu/context.ts';
import { Layout, SYSTEM_ROOTS } from '../../src/driver/qemu/layout.ts';
import { planFromXml } from '../../src/driver/qemu/plan/launch-plan.ts';
import { formatCommand } from '../../src/driver/qemu/plan/render.ts';
import type { ArgvCase, Referee } from './cases.ts';
import { renumberFds } from './mock-fds.ts';
import { MOCK_FIRMWARE } from './mock-firmware.ts';
import { MOCK_CONFIG, mockHost } from './mock-host.ts';
import { MOCK_LOOKUP } from './mock-network.ts';
import { type Comparison, compareCommands } from './score.ts';

/** What became of one case. */
export interface CaseResult {
  readonly name: string;
  readonly kind: 'argv' | 'refusal';
  readonly agreed: boolean;
  /** We made a command line, not a refusal. */
  readonly planned: boolean;
  /** Our command line, or our refusal. */
  readonly ours: string;
  readonly comparison?: Comparison;
  /** An error that is not a refusal: a bug of ours. */
  readonly crash?: unknown;
}

/** Plans all cases whose names match. */
export function runCases(referee: Referee, pattern = /(?:)/): CaseResult[] {
  const context = refereeContext(referee);
  return referee.cases.filter(({ name }) => pattern.test(name)).map((argvCase) => runCase(argvCase, context));
}

/** The mocked host with the recorded QEMU. */
export function refereeContext(referee: Referee): DriverContext {
  return {
    caps: withSev(nameMachinesByAlias(capabilitiesFromDialogue('/usr/bin/qemu-system-x86_64', referee.replies))),
    host: mockHost(MOCK_FIRMWARE),
    config: { ...DEFAULT_CONFIG, ...MOCK_CONFIG },
    layout: new Layout(SYSTEM_ROOTS),
    lookup: MOCK_LOOKUP,
    hostClock: { nowMs: 1_234_567_890_000, utcOffsetSeconds: 0 },
    randomBytes: (count) => Uint8Array.from({ length: count }, (_, index) => index),
  };
}

/** The recorded host has no SEV; the expectations for such guests were made on one that has. */
function withSev(caps: QemuCapabilities): QemuCapabilities {
  return { ...caps, sev: { pdh: '', certChain: '', cbitPos: 51, reducedPhysBits: 1 } };
}

function runCase(argvCase: ArgvCase, context: DriverContext): CaseResult {
  const { name, args } = argvCase;
  const kind = args === undefined ? 'refusal' : 'argv';
  let ours: string;
  try {
    const plan = planFromXml(readFileSync(argvCase.xmlPath, 'utf8'), forCase(name, context));
    ours = renumberFds(formatCommand(plan, context.caps), plan.fds);
  } catch (error) {
    const isRefusal = error instanceof Error && REFUSALS.has(error.name);
    const base = { name, kind, agreed: kind === 'refusal' && isRefusal, planned: false, ours: String(error) } as const;
    return isRefusal ? base : { ...base, crash: error };
  }
  if (args === undefined) return { name, kind, agreed: false, planned: true, ours };
  const comparison = compareCommands(args, ours);
  return { name, kind, agreed: comparison.equal, planned: true, ours, comparison };
}

/** Some expectations were made with TLS, SASL or sockets switched on in the driver's settings; their names say so. */
function forCase(name: string, context: DriverContext): DriverContext {
  const config = { ...context.config };
  if (name.includes('tlsx509')) {
    config.chardevTls = true;
    config.chardevTlsX509Verify = name.includes('verify');
  } else if (name.startsWith('graphics-')) {
    config.vncTls = config.vncTlsX509Verify = /vnc-tls/.test(name);
    if (/vnc-tls-secret/.test(name)) config.vncTlsX509SecretUuid = '6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea';
    config.vncSasl = /vnc-(?:tls|sasl)/.test(name);
    config.spiceSasl = /spice-sasl/.test(name);
    config.vncAutoUnixSocket = /vnc-auto-socket-cfg/.test(name);
    config.spiceAutoUnixSocket = /spice-auto-socket-cfg/.test(name);
  }
  config.spiceTls = name.includes('spice');
  return { ...context, config };
}

/** The errors by which a definition is refused on purpose. */
const REFUSALS = new Set(['VirtError', 'DefinitionError', 'XmlSyntaxError', 'FirmwareSelectionError']);
