/** Runs `ip` (iproute2) and network scripts of the user's, and removes taps that a dead process has left. */

import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { ObjectIdentity } from '../core/ledger-format.ts';
import type { RemoverContext, Removers } from '../core/ledger-removers.ts';
import { spawnChild } from '../process/spawn.ts';

/** @throws ProcessError when there is no such program, VirtError with its words when it fails */
export async function runNetworkProgram(command: string, args: readonly string[], signal?: AbortSignal): Promise<void> {
  await using child = await spawnChild({ command, args, dieWithParent: true }, { signal });
  const { exitCode, signal: killedBy, stderrTail } = await child.exited;
  if (exitCode === 0) return;
  const words = stderrTail.trim().split('\n').at(-1) ?? '';
  throw new VirtError(
    `${command} ${args.join(' ')} ended with ${killedBy ?? `status ${exitCode}`}${words === '' ? '' : `: ${words}`}`,
    { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.NETWORK },
  );
}

/** For `collectGarbage`, beside those of the core. */
export const NETWORK_REMOVERS = {
  /** `{name, mac}`: only a device with that MAC address is ours; another may have taken the name since. */
  tap: removeTap,
} as const satisfies Removers;

async function removeTap(identity: ObjectIdentity, { sameBoot, signal }: RemoverContext): Promise<void> {
  const { name, mac } = identity;
  if (typeof name !== 'string' || typeof mac !== 'string') throw new TypeError('its record has no name or MAC address');
  if (!sameBoot) return;
  const { loadNetworkCalls } = await import('./network-device-ioctl.ts');
  const calls = await loadNetworkCalls();
  if (calls.indexOf(name) === 0 || calls.macOf(name) !== mac) return;
  await runNetworkProgram('ip', ['link', 'delete', 'dev', name], signal);
}
