/** A macvtap device: a card of the guest's own on a network device of the host. Unlike a tap it stays when its descriptors are closed. */
import { openSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { NetworkCalls } from '../../../guest/network-device-ioctl.ts';
import { runNetworkProgram } from '../../../guest/network-program.ts';
import { errnoOf } from '../../../process/process-error.ts';
import type { TapSettings } from './network-device-settings.ts';

/** What `ip` calls the modes. */
const MODES = { vepa: 'vepa', private: 'private', bridge: 'bridge', passthrough: 'passthru' } as const;

/** Makes the device and opens its first queue. On failure it is gone again. @throws VirtError */
export async function makeMacvtap(calls: NetworkCalls, settings: TapSettings, name: string): Promise<number> {
  const { direct, mac, mtu, title } = settings;
  if (direct === undefined || calls.indexOf(direct.device) === 0) {
    throw failure(
      `${title}: device '${direct?.device ?? ''}' does not exist: name one of the host's in <source dev='…'/>`,
    );
  }
  const size = mtu === undefined ? [] : ['mtu', String(mtu)];
  const link = ['link', 'add', 'link', direct.device, 'name', name, 'address', mac, ...size];
  await runNetworkProgram('ip', [...link, 'type', 'macvtap', 'mode', MODES[direct.mode]]);
  try {
    calls.setUp(name);
    return openQueue(calls, settings, name);
  } catch (error) {
    await removeMacvtap(name);
    throw error;
  }
}

/** One more descriptor of a device that is there. */
export function openQueue(calls: NetworkCalls, { title, vnetHeader, queues }: TapSettings, name: string): number {
  const path = `/dev/tap${calls.indexOf(name)}`;
  try {
    const fd = openSync(path, 'r+');
    calls.setTap(fd, name, { vnetHeader, multiQueue: queues > 1, exclusive: false });
    return fd;
  } catch (error) {
    const errno = errnoOf(error) ?? String(error);
    const fix =
      errno === 'ENOENT' || errno === 'EPERM' ? '; in a container, pass the host’s /dev and allow its tap devices' : '';
    throw failure(`${title}: opening ${path} of ${name}: ${errno}${fix}`, error);
  }
}

/** Idempotent. */
export async function removeMacvtap(name: string): Promise<void> {
  await runNetworkProgram('ip', ['link', 'delete', 'dev', name]);
}

function failure(message: string, cause?: unknown): VirtError {
  return new VirtError(`cannot set up the network: ${message}`, {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.NETWORK,
    cause,
  });
}
