/** Runs nft and iptables: makes what a plan's step says, takes it away again, looks whether it is still there. Decides nothing. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { runCommand } from '../../process/run-command.ts';
import { iptablesProgram, lastLine, saveTables } from './facts.ts';
import { iptablesChains, iptablesRemoval, missingChains, OPTIONAL_PURPOSES } from './iptables-text.ts';
import { nftTableRemoval } from './nft-text.ts';
import type { FirewallStep } from './plan.ts';
import type { RuleFamily } from './rule.ts';
import { tableName } from './rule-names.ts';

const log = new LogSource('util.firewall');
const COMMAND_TIMEOUT_MS = 30_000;

/** @throws VirtError INTERNAL_ERROR with the program's words; then nothing of an nft step is made, and of another one whole tables */
export async function makeStep(step: FirewallStep, bridge: string, signal?: AbortSignal): Promise<void> {
  if (step.kind === 'nft') return await feed('nft', ['-f', '-'], step.script, signal);
  const { command, family, rules } = step;
  const saved = await saveTables(command, family, signal);
  await restore(command, family, iptablesChains(bridge, rules, saved), signal);
  try {
    await restore(command, family, iptablesChains(bridge, rules, saved, OPTIONAL_PURPOSES), signal);
  } catch (error) {
    signal?.throwIfAborted();
    // Only clients of DHCP from many years ago need it.
    log.info('makeStep', () => `left out: ${String(error)}`);
  }
}

/** Tries what may be refused. Never rejects but with the signal's reason. */
export async function tryTraffic(lines: readonly string[], signal?: AbortSignal): Promise<void> {
  if (lines.length === 0) return;
  const input = `${lines.join('\n')}\n`;
  const { status, stderr } = await runCommand('tc', ['-force', '-batch', '-'], { ...options(signal), input });
  if (status !== 0) log.info('tryTraffic', () => `left out: ${firstLine(stderr)}`);
}

/** Removes a table of ours whether it is there or not. */
export async function removeTable(family: RuleFamily, bridge: string, signal?: AbortSignal): Promise<void> {
  await feed('nft', ['-f', '-'], nftTableRemoval(bridge, family), signal);
}

/** Removes all chains of ours for a bridge. */
export async function removeChains(
  command: string,
  family: RuleFamily,
  bridge: string,
  signal?: AbortSignal,
): Promise<void> {
  const saved = await saveTables(command, family, signal);
  await restore(command, family, iptablesRemoval(bridge, saved), signal);
}

/** Whether somebody has flushed it. */
export async function isComplete(step: FirewallStep, bridge: string, signal?: AbortSignal): Promise<boolean> {
  if (step.kind === 'iptables') {
    return missingChains(bridge, step.rules, await saveTables(step.command, step.family, signal)).length === 0;
  }
  const lists = await Promise.all(
    step.families.map((family) => runCommand('nft', ['list', 'table', family, tableName(bridge)], options(signal))),
  );
  const chainsIn = (text: string): number => (text.match(/^\s+chain /gm) ?? []).length;
  const found = lists.reduce((count, { status, stdout }) => count + (status === 0 ? chainsIn(stdout) : 0), 0);
  return found === chainsIn(step.script);
}

async function restore(command: string, family: RuleFamily, text: string, signal?: AbortSignal): Promise<void> {
  if (text === '') return;
  // Others hold the lock of the legacy family for moments.
  await feed(iptablesProgram(command, family, 'restore'), ['--noflush', '-w', '5'], text, signal);
}

async function feed(program: string, args: readonly string[], input: string, signal?: AbortSignal): Promise<void> {
  log.debug('feed', () => `${program} ${args.join(' ')}\n${input}`);
  const { status, stderr, error } = await runCommand(program, args, { ...options(signal), input });
  if (status === 0) return;
  const words = firstLine(stderr) || lastLine(error?.message ?? '');
  const isRoot = process.geteuid?.() === 0;
  const fix = isRoot
    ? "the kernel or this container does not take its rules: 'nestling doctor' shows what it takes"
    : "run as root, or use user-mode networking (<interface type='user'/>), which needs no rules";
  throw new VirtError(`${program} ${args.join(' ')} ended with ${status ?? 'a signal'}: ${words}; ${fix}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.FIREWALL,
    cause: error,
  });
}

/** The first thing that goes wrong is the reason for the others. */
function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.trim() ?? '';
}

function options(signal: AbortSignal | undefined): {
  timeout: number;
  killSignal: 'SIGKILL';
  maxBuffer: number;
  signal: AbortSignal | undefined;
} {
  return { timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024, signal };
}
