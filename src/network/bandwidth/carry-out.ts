/** Runs `tc`, and nft where the kernel has no policing of its own, for what `traffic-plan.ts` has planned. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { lookUpProgram } from '../../process/find-program.ts';
import { runCommand } from '../../process/run-command.ts';
import { nftLimitRemoval, type TrafficPlan, type TrafficStep } from './traffic-plan.ts';

const log = new LogSource('util.netdev');
const COMMAND_OPTIONS = { timeout: 10_000, killSignal: 'SIGKILL' } as const;

export interface CarryOutOptions {
  /** An nft table is going to be made for the device. */
  readonly onTable: () => void;
  readonly signal?: AbortSignal | undefined;
}

/** @throws VirtError INTERNAL_ERROR, as libvirt, where the kernel refuses */
export async function carryOut(plan: TrafficPlan, { onTable, signal }: CarryOutOptions): Promise<void> {
  for (const step of plan.steps) {
    await feed(['-force'], step.before, signal);
    const refusal = await feed([], step.commands, signal);
    if (refusal === undefined) continue;
    if (step.optional === true) {
      log.debug('carryOut', () => `left out: ${refusal}`);
      continue;
    }
    await otherwise(plan.device, step, refusal, onTable, signal);
  }
}

/** Removes the nft table of a device, if there is one. */
export async function removeLimitTable(device: string, signal?: AbortSignal): Promise<void> {
  if (lookUpProgram('nft') === undefined) return;
  const input = nftLimitRemoval(device);
  const { status, stderr } = await runCommand('nft', ['-f', '-'], { ...COMMAND_OPTIONS, signal, input });
  if (status !== 0) throw new Error(`nft: ${firstLine(stderr)}`);
}

async function otherwise(
  device: string,
  { instead }: TrafficStep,
  refusal: string,
  onTable: () => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (instead !== undefined && lookUpProgram('nft') !== undefined) {
    onTable();
    const { status, stderr } = await runCommand('nft', ['-f', '-'], { ...COMMAND_OPTIONS, signal, input: instead });
    if (status === 0) return;
    log.info('otherwise', () => `nft cannot limit ${device} either: ${firstLine(stderr)}`);
  }
  const isRoot = process.geteuid?.() === 0;
  const fix = isRoot ? 'load sch_htb, sch_ingress, cls_u32 and act_police, or leave <bandwidth> out' : 'run as root';
  throw new VirtError(`cannot limit the bandwidth of ${device}: tc: ${refusal}; ${fix}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.NETWORK,
  });
}

/** @returns why not; undefined when it worked or there was nothing to do */
async function feed(
  options: readonly string[],
  lines: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  if (lines.length === 0) return undefined;
  const input = `${lines.join('\n')}\n`;
  log.debug('feed', () => `tc: ${lines.join('; ')}`);
  const result = await runCommand('tc', [...options, '-batch', '-'], { ...COMMAND_OPTIONS, signal, input });
  if (result.status === 0) return undefined;
  if (lookUpProgram('tc') === undefined) return 'not installed (Debian package iproute2)';
  return firstLine(result.stderr) || (result.error?.message ?? '');
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.trim() ?? '';
}
