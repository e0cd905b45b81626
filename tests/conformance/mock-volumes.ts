/** Storage volumes that the expectations assume: names say what a volume is (`TYPE+NAME`, or a unit of an iSCSI target). */
import type { VolumeFound } from '../../src/driver/qemu/context.ts';

/** The volume of that name in any pool; `direct` reaches iSCSI units over the network. */
export function mockVolume(_pool: string, volume: string, mode?: string): VolumeFound | undefined {
  const unit = /^unit:\d+:\d+:(\d+)$/.exec(volume)?.[1];
  if (unit !== undefined) {
    const found = { type: 'block', path: `/some/block/device/${volume}`, format: 'raw' };
    if (mode !== 'direct') return found;
    const hosts = [{ name: 'iscsi.example.com' }];
    return { ...found, source: { protocol: 'iscsi', name: `demo-target/${unit}`, hosts, seclabels: [] } };
  }
  const [type, name] = volume.split('+');
  if (type === undefined || name === undefined) return undefined;
  return { type, path: `/some/${type}/device/${name}`, format: 'raw' };
}
