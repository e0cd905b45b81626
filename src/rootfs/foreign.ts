/** Makes a decision on foreign programs true, or says why they cannot run: the doing beside `host/binfmt.ts`. */
import { existsSync, writeFileSync } from 'node:fs';
import { ErrorCode } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import {
  type BinfmtFacts,
  type ForeignPlan,
  isEmulatedArchitecture,
  planForeign,
  readBinfmtFacts,
} from '../host/binfmt.ts';
import { runCommand } from '../process/run-command.ts';
import { findArchitecture } from './architecture.ts';
import { failed } from './image-store.ts';

const log = new LogSource('lxc.lxc_container');
const BINFMT = '/proc/sys/fs/binfmt_misc';

/**
 * How programs of an architecture (any world's name) run on this host. Pure but for reading the facts.
 * @throws VirtError INVALID_ARG for an unknown name
 */
export function foreignArchitecture(
  name: string,
  { facts = readBinfmtFacts(), registerOnHost = false }: { facts?: BinfmtFacts; registerOnHost?: boolean } = {},
): ForeignPlan {
  const qemu = isEmulatedArchitecture(name) ? name : findArchitecture(name).qemu;
  return planForeign(qemu, facts, { registerOnHost });
}

/**
 * The plan, after what it asks of the whole host is done.
 * @throws VirtError CONFIG_UNSUPPORTED with reason and fix when such programs cannot run here
 */
export async function usableForeign(plan: ForeignPlan, arch: string): Promise<ForeignPlan> {
  if (plan.kind === 'impossible') {
    throw failed(`programs for ${arch} do not run here: ${plan.reason}; ${plan.fix}`, ErrorCode.CONFIG_UNSUPPORTED);
  }
  if (plan.kind === 'host') await registerOnHost(plan.line, arch);
  return plan;
}

/** For all programs of the host, and until it is restarted: only when a user has said so. */
async function registerOnHost(line: string, arch: string): Promise<void> {
  if (!existsSync(`${BINFMT}/register`)) await runCommand('mount', ['-t', 'binfmt_misc', 'binfmt_misc', BINFMT]);
  try {
    writeFileSync(`${BINFMT}/register`, line);
    log.info('registerOnHost', () => `programs for ${arch} run on the whole host from now on`);
  } catch (cause) {
    // Registered meanwhile by somebody else: the same programs run.
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return;
    throw failed(
      `cannot register an emulator for ${arch}: ${cause instanceof Error ? cause.message : String(cause)}`,
      ErrorCode.OPERATION_FAILED,
      cause,
    );
  }
}
