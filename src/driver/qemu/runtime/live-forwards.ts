/** Port forwards of a running guest's user-mode network: changed through QEMU's human monitor, which alone can. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { changeOfForwards, type HostForward } from '../../../guest/host-forwards.ts';
import type { NetworkInterface, PortForward } from '../../../model/domain/devices/interface.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import { isPasst } from '../devices/interface/attachment.ts';
import { netdevId } from '../devices/interface/netdev.ts';

/**
 * All forwards of the interface are those that are wanted, or as before.
 * @throws VirtError OPERATION_FAILED with QEMU's words where a port is taken, OPERATION_UNSUPPORTED for passt, which reads them once
 */
export async function changeForwards(
  qmp: Pick<QmpClient, 'execute'>,
  device: NetworkInterface,
  wanted: readonly PortForward[],
  signal?: AbortSignal,
): Promise<void> {
  const { removed, added } = changeOfForwards(device.portForwards, wanted);
  if (removed.length === 0 && added.length === 0) return;
  if (device.type !== 'user' || isPasst(device)) {
    throw new VirtError(
      `cannot modify the portForward of a running interface ${isPasst(device) ? 'with passt' : `of type '${device.type}'`}: only QEMU's own user-mode network can; change its next start (--config)`,
      { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU },
    );
  }
  const id = netdevId(device);
  const done: string[] = [];
  try {
    for (const { from, rule } of removed) {
      await say(qmp, `hostfwd_remove ${id} ${from}`, signal);
      done.unshift(`hostfwd_add ${id} ${rule}`);
    }
    for (const forward of added) {
      await add(qmp, id, forward, signal);
      done.unshift(`hostfwd_remove ${id} ${forward.from}`);
    }
  } catch (error) {
    for (const command of done) await say(qmp, command);
    throw error;
  }
  device.portForwards = [...wanted];
}

/** QEMU prints nothing when it has done it. */
async function add(
  qmp: Pick<QmpClient, 'execute'>,
  id: string,
  { from, rule }: HostForward,
  signal: AbortSignal | undefined,
): Promise<void> {
  const words = (await say(qmp, `hostfwd_add ${id} ${rule}`, signal)).trim();
  if (words === '') return;
  throw new VirtError(`cannot forward ${from} to the guest: QEMU: ${words}; the port may be taken (ss -ln)`, {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.QEMU,
  });
}

async function say(qmp: Pick<QmpClient, 'execute'>, command: string, signal?: AbortSignal): Promise<string> {
  return await qmp.execute('human-monitor-command', { 'command-line': command }, { signal });
}
