/** What libvirt fills into a `<filesystem>`. */
import type { Filesystem } from '../../../../model/domain/devices/filesystem.ts';

export function fillFilesystemDefaults(filesystem: Filesystem): void {
  filesystem.type ??= 'mount';
  filesystem.accessmode ??= 'passthrough';
  if (filesystem.multidevs === 'default') delete filesystem.multidevs;
}
