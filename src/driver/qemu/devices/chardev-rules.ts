/**
 * What libvirt fills in and refuses in the host end of a character device, whichever device it belongs to. How the
 * end becomes a `-chardev` is in `chardev.ts`.
 */
import type { ChardevSource, ChardevSourceElement, ChardevType } from '../../../model/domain/devices/chardev-source.ts';
import { hasFeature } from '../capabilities/capabilities.ts';
import type { FeatureName } from '../capabilities/features.ts';
import { type DomainContext, fault } from '../context.ts';

/** Fills in the type, the mode of sockets and the protocol of TCP, and drops a protocol that has no effect. */
export function fillChardevDefaults(device: ChardevSource): void {
  device.type ??= 'pty';
  if (device.type === 'pty') dropTerminal(device);
  for (const source of device.sources) {
    if (device.type === 'tcp' || device.type === 'udp') source.mode ??= 'connect';
    if (device.type === 'unix') source.mode ??= source.path === undefined ? 'bind' : 'connect';
  }
  if (device.type !== 'tcp') delete device.protocol;
  else if (device.protocol?.type === undefined) device.protocol = { type: 'raw' };
}

/** The path of a pseudo-terminal belongs to one run. */
function dropTerminal(device: ChardevSource): void {
  // More than one is refused later.
  if (device.sources.length > 1) return;
  for (const source of device.sources) delete source.path;
  device.sources = device.sources.filter(({ seclabels }) => seclabels.length > 0);
}

/** Refuses sources that lack what their type needs. `pathOptional`: a unix socket's path may be made up later. */
export function validateChardev(
  device: ChardevSource,
  context: DomainContext,
  options: { pathOptional?: boolean } = {},
): void {
  const type = device.type ?? 'pty';
  validateSourceCount(device, context);
  validateSource(device, type, context, options.pathOptional === true);
  for (const source of device.sources) validateReconnect(source, context);
  const feature = FEATURE_OF[type];
  if (feature !== undefined && !hasFeature(context.caps, feature)) {
    fault(context, device, `this QEMU has no character device of type '${type}'`, '@type');
  }
  const hasSpice = context.domain.devices?.graphics.some((graphics) => graphics.type === 'spice') === true;
  if ((type === 'spicevmc' || type === 'spiceport') && !hasSpice) {
    fault(context, device, `type '${type}' ends in a SPICE client: add <graphics type='spice'/>`, '@type');
  }
  if (type === 'nmdm') fault(context, device, "QEMU has no character device of type 'nmdm'; use 'pty'", '@type');
}

const FEATURE_OF: Partial<Record<ChardevType, FeatureName>> = {
  spicevmc: 'chardev-spicevmc',
  spiceport: 'chardev-spiceport',
  'qemu-vdagent': 'chardev-qemu-vdagent',
  dbus: 'chardev-dbus',
};

function validateSourceCount(device: ChardevSource, context: DomainContext): void {
  const limit = device.type === 'udp' ? 2 : 1;
  if (device.sources.length > limit) {
    fault(context, device, `a character device of type '${device.type}' takes ${limit} <source>`, 'source');
  }
}

function validateSource(device: ChardevSource, type: ChardevType, context: DomainContext, pathOptional: boolean): void {
  const source = device.sources[0];
  const need = (name: 'path' | 'host' | 'service' | 'channel', where: ChardevSourceElement | undefined) => {
    if (where?.[name] === undefined || where[name] === '') {
      fault(context, where ?? device, `a character device of type '${type}' needs <source ${name}=…>`);
    }
  };
  switch (type) {
    case 'file':
    case 'dev':
    case 'pipe':
      need('path', source);
      break;
    case 'unix':
      if (!pathOptional) need('path', source);
      break;
    case 'tcp':
      need('host', source);
      need('service', source);
      break;
    case 'udp':
      need(
        'service',
        device.sources.find(({ mode }) => mode !== 'bind'),
      );
      break;
    case 'spiceport':
    case 'dbus':
      need('channel', source);
      if (source?.channel !== undefined && !/^[A-Za-z0-9._-]+$/.test(source.channel)) {
        fault(
          context,
          source,
          `channel '${source.channel}' may have letters, digits, '.', '_' and '-' only`,
          '@channel',
        );
      }
      break;
    default:
  }
}

function validateReconnect(source: ChardevSourceElement, context: DomainContext): void {
  if (source.reconnect?.enabled !== true) return;
  if ((source.reconnect.timeout ?? 0) === 0) {
    fault(context, source.reconnect, 'reconnecting needs a timeout of one second or more', '@timeout');
  }
  if (source.mode === 'bind') fault(context, source.reconnect, "only a source of mode 'connect' can reconnect");
}
