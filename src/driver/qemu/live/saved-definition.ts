/**
 * The definition of a running guest as it is kept in a saved image: what this run has made up (numbers, terminals, ports, sockets) is left
 * out, and so is what every start adds by itself, so that older libvirts, which do not know all of that, can restore it too. Pure.
 */
import { memberOf } from '../../../core/members.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import { sourcesOf } from '../devices/blockdev/node-index.ts';
import { isGeneratedChannelPath } from '../devices/channel/channel-path.ts';
import type { Layout } from '../layout.ts';

/** Names that users have given begin so. */
const USER_ALIAS = 'ua-';

export function savedDefinition(live: Domain, layout: Layout): Domain {
  const domain = cloneDefinition(live);
  delete domain.id;
  const { devices } = domain;
  if (devices === undefined) return domain;
  dropAliases(domain);
  for (const disk of devices.disks) {
    for (const source of sourcesOf(disk)) delete source.index;
    delete disk.target?.tray;
  }
  dropTerminals(devices);
  for (const channel of devices.channels) {
    delete channel.target.state;
    const path = channel.sources[0]?.path;
    if (path !== undefined && isGeneratedChannelPath(path, channel, layout)) channel.sources = [];
  }
  for (const graphics of devices.graphics) {
    if (graphics.autoport === true && graphics.port !== undefined) graphics.port = -1;
  }
  for (const { target } of devices.interfaces) {
    if (target?.dev !== undefined && /^(?:vnet|macvtap|macvlan)\d+$/.test(target.dev)) delete target.dev;
  }
  devices.interfaces = devices.interfaces.map((one) => {
    if (one.target?.dev !== undefined || one.target?.managed !== undefined) return one;
    const { target: _target, ...rest } = one;
    return rest;
  });
  // Part of the machine, and written with its default action only because newer libvirts do so.
  devices.watchdogs = devices.watchdogs.filter(({ model, action = 'reset' }) => model !== 'itco' || action !== 'reset');
  return domain;
}

function dropAliases({ devices }: Domain): void {
  for (const value of Object.values(devices ?? {}) as unknown[]) {
    for (const device of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof device !== 'object' || device === null) continue;
      const name = memberOf(device, 'alias', 'name');
      if (typeof name === 'string' && !name.startsWith(USER_ALIAS)) Reflect.deleteProperty(device, 'alias');
    }
  }
}

function dropTerminals(devices: NonNullable<Domain['devices']>): void {
  for (const device of [...devices.serials, ...devices.parallels, ...devices.channels, ...devices.consoles]) {
    if (device.type === 'pty') device.sources = [];
  }
  for (const console of devices.consoles) delete console.tty;
}
