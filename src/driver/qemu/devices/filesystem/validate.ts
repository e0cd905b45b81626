/** Which `<filesystem>` QEMU can serve, and how. */
import type { Filesystem } from '../../../../model/domain/devices/filesystem.ts';
import { hasDevice, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { requireSharedMemory } from '../shared-memory.ts';

export function validateFilesystem(filesystem: Filesystem, context: DomainContext): void {
  const wrong = (message: string, field?: string) => fault(context, filesystem, message, field);
  const { source, target, type = 'mount' } = filesystem;
  if (type !== 'mount') {
    wrong(`QEMU has no filesystem of type '${type}': use 'mount' with a directory, or a <disk>`, '@type');
    return;
  }
  if (source?.dir === undefined && source?.socket === undefined) wrong('<source> needs a dir', 'source/@dir');
  if (target?.dir === undefined || target.dir === '') {
    wrong('<target> needs a dir: the tag by which the guest mounts it', 'target/@dir');
  }
  const driver = filesystem.driver?.type ?? 'path';
  if (driver === 'virtiofs') validateVirtiofs(filesystem, context);
  else if (driver === 'path') validate9p(filesystem, context);
  else wrong(`QEMU has no filesystem driver '${driver}': use 'path' or 'virtiofs'`, 'driver/@type');
}

function validate9p(filesystem: Filesystem, context: DomainContext): void {
  const wrong = (message: string, field?: string) => fault(context, filesystem, message, field);
  const { accessmode, dmode, driver, fmode, source } = filesystem;
  if ((fmode !== undefined || dmode !== undefined) && accessmode !== 'mapped') {
    wrong("fmode and dmode need accessmode='mapped'", '@accessmode');
  }
  if (source?.socket !== undefined) wrong("a socket needs driver type='virtiofs'", 'source/@socket');
  if (driver?.format !== undefined) wrong('QEMU takes no format for a filesystem', 'driver/@format');
  if (driver?.queue !== undefined) wrong("queue is for driver type='virtiofs'", 'driver/@queue');
  if (filesystem.boot?.order !== undefined) wrong('a guest cannot boot from a 9p filesystem', 'boot');
  const { caps } = context;
  if (!['pci', 'ccw', 'device'].some((transport) => hasDevice(caps, `virtio-9p-${transport}`))) {
    wrong('this QEMU has no 9p filesystem');
  }
}

function validateVirtiofs(filesystem: Filesystem, context: DomainContext): void {
  const wrong = (message: string, field?: string) => fault(context, filesystem, message, field);
  const { caps } = context;
  const { accessmode, driver, model, source } = filesystem;
  if (!['pci', 'ccw', 'device'].some((transport) => hasDevice(caps, `vhost-user-fs-${transport}`))) {
    wrong('this QEMU has no virtiofs');
  }
  if (accessmode !== undefined && accessmode !== 'passthrough') {
    wrong("virtiofs knows accessmode='passthrough' only", '@accessmode');
  }
  if (filesystem.multidevs !== undefined) wrong('virtiofs has no multidevs', '@multidevs');
  if (filesystem.fmode !== undefined || filesystem.dmode !== undefined) wrong('virtiofs has no fmode and dmode');
  if (model !== undefined && model !== 'virtio') wrong('virtiofs has no transitional models', '@model');
  if (driver?.wrpolicy !== undefined) wrong('virtiofs has no wrpolicy', 'driver/@wrpolicy');
  if (driver?.format !== undefined) wrong('virtiofs has no format', 'driver/@format');
  if (source?.socket !== undefined) validateOutsideServer(filesystem, context);
  if (filesystem.boot?.order !== undefined && !hasProperty(caps, 'vhost-user-fs-device', 'bootindex')) {
    wrong('this QEMU cannot boot from virtiofs', 'boot');
  }
  requireSharedMemory(filesystem, 'virtiofs', context);
}

/** The server behind a socket is not ours to configure. */
function validateOutsideServer(filesystem: Filesystem, context: DomainContext): void {
  const given: readonly (readonly [string, unknown])[] = [
    ['readonly', filesystem.readonly],
    ['binary', filesystem.binary],
    ['idmap', filesystem.idmap],
  ];
  for (const [name, value] of given) {
    if (value !== undefined) fault(context, filesystem, `<${name}> is for a virtiofsd that is started here`, name);
  }
}
