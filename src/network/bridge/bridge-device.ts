/** Makes and removes the bridge of a network. The ledger has it before the kernel does, with its MAC address: another may take the name later. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { Ledger, LedgerEntry } from '../../core/ledger.ts';
import { LogSource } from '../../core/log-source.ts';
import { errnoOf } from '../../process/process-error.ts';
import { networkNamespace } from '../network-namespace.ts';
import type { BridgePlan, NetworkSetting } from './bridge-plan.ts';
import { deleteBridge } from './bridge-remover.ts';
import { runIpBatch } from './ip-command.ts';
import { listDevices } from './list-devices.ts';

const log = new LogSource('network.bridge_driver');

export interface BridgeOptions {
  readonly ledger: Pick<Ledger, 'record'>;
  /** Default: /proc. */
  readonly proc?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A bridge that we made. Disposal removes it. */
export interface BridgeDevice extends AsyncDisposable {
  readonly name: string;
}

/** @throws VirtError when a device of that name exists, or the kernel refuses */
export async function makeBridge(plan: BridgePlan, options: BridgeOptions): Promise<BridgeDevice> {
  const { name, mac } = plan;
  const { ledger, proc = '/proc', signal } = options;
  if (listDevices(proc).includes(name)) {
    throw new VirtError(
      `error creating bridge interface ${name}: File exists; name another one in <bridge name='…'/>, or remove it (ip link delete ${name})`,
      { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.NETWORK },
    );
  }
  log.debug('makeBridge', () => `${name} ${mac}`);
  const entry = ledger.record('bridge', { name, mac, namespace: networkNamespace() });
  const remove = async (): Promise<void> => await removeBridge({ name, mac }, entry);
  try {
    await runIpBatch(plan.make, signal);
    for (const setting of plan.settings) writeSetting(proc, setting);
    await runIpBatch(plan.bringUp, signal);
    for (const setting of plan.forwarding) enableForwarding(proc, setting);
  } catch (error) {
    await remove();
    throw error;
  }
  return { name, [Symbol.asyncDispose]: remove };
}

/** One that a process before us made; `entry`: its place in our ledger. */
export function adoptBridge(
  { name, mac }: Pick<BridgePlan, 'name' | 'mac'>,
  { ledger }: Pick<BridgeOptions, 'ledger'>,
): BridgeDevice {
  const entry = ledger.record('bridge', { name, mac, namespace: networkNamespace() });
  return { name, [Symbol.asyncDispose]: async () => await removeBridge({ name, mac }, entry) };
}

async function removeBridge({ name, mac }: Pick<BridgePlan, 'name' | 'mac'>, entry: LedgerEntry): Promise<void> {
  log.debug('removeBridge', () => name);
  await deleteBridge(name, mac, undefined);
  entry.done();
}

function writeSetting(proc: string, { path, value }: NetworkSetting): void {
  try {
    writeFileSync(join(proc, 'sys/net', path), value);
  } catch (error) {
    // A kernel without IPv6: nothing to keep off, and addresses that need it fail by themselves.
    if (errnoOf(error) !== 'ENOENT') throw refused(path, value, error);
  }
}

/** The whole host's (or container's) setting: left alone where it is right already. */
function enableForwarding(proc: string, { path, value }: NetworkSetting): void {
  const file = join(proc, 'sys/net', path);
  try {
    if (readFileSync(file, 'utf8').trim() !== '0') return;
    writeFileSync(file, value);
    log.info('enableForwarding', () => `wrote ${value} to ${file}`);
  } catch (error) {
    throw refused(path, value, error);
  }
}

function refused(path: string, value: string, cause: unknown): VirtError {
  const sysctl = path.replaceAll('/', '.');
  return new VirtError(
    `cannot write ${value} to /proc/sys/net/${path}: ${errnoOf(cause) ?? String(cause)}; in a container, set it outside (sysctl -w net.${sysctl}=${value}) or mount /proc/sys writable`,
    { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.NETWORK, cause },
  );
}
