/**
 * What a container's definition must not be: said when it is defined, with the codes that libvirt gives. What depends on the host is found at the
 * start. Pure.
 */
import { isIP } from 'node:net';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import type { Hostdev } from '../../../model/domain/devices/hostdev.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceIp } from '../../../model/domain/devices/ip-config.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { EXTRA, type Extra } from '../../../model/schema/schema.ts';
import { refuse } from './container-context.ts';

/** @throws VirtError XML_ERROR, NO_SOURCE, NO_TARGET for what is no definition, CONFIG_UNSUPPORTED for what no container can be */
export function checkContainer(domain: Domain): void {
  checkUsers(domain);
  checkCapabilities(domain);
  for (const filesystem of domain.devices?.filesystems ?? []) checkFilesystem(filesystem);
  for (const device of domain.devices?.interfaces ?? []) checkInterface(device);
  for (const device of domain.devices?.hostdevs ?? []) checkHostdev(device);
}

/** A definition that is none. */
export function malformed(message: string): never {
  throw new VirtError(`XML error: ${message}`, { code: ErrorCode.XML_ERROR, domain: ErrorDomain.DOMAIN });
}

function lacking(code: ErrorCode, message: string): never {
  throw new VirtError(message, { code, domain: ErrorDomain.DOMAIN });
}

function checkUsers({ idmap }: Domain): void {
  const { uids = [], gids = [] } = idmap ?? {};
  if (uids.length === 0 && gids.length === 0) return;
  if (uids.length === 0 || gids.length === 0) {
    refuse('<idmap> must map users and groups: give it a <uid …/> and a <gid …/>');
  }
  if (![uids, gids].every((ranges) => ranges.some(({ start }) => start === 0))) {
    refuse("<idmap> must map the container's root: a <uid start='0' …/> and a <gid start='0' …/>");
  }
}

function checkCapabilities({ features }: Domain): void {
  const { capabilities } = features ?? {};
  if (capabilities === undefined || !(EXTRA in capabilities)) return;
  const [unknown] = (capabilities[EXTRA] as Extra).children;
  if (unknown !== undefined) refuse(`<capabilities>: there is no capability '${unknown.name}'`);
}

function checkFilesystem({ type = 'mount', source, target }: Filesystem): void {
  const dir = target?.dir ?? '';
  const from = [source?.dir, source?.file, source?.dev, source?.name, source?.pool].find(
    (value) => value !== undefined,
  );
  if (dir === '') {
    lacking(ErrorCode.NO_TARGET, `<filesystem> of '${from ?? type}' has no <target dir=…>: where it is mounted inside`);
  }
  if (type === 'ram') {
    if (source?.usage === undefined) malformed(`<filesystem type='ram'> on ${dir} has no <source usage=…>: its size`);
  } else if (from === undefined) lacking(ErrorCode.NO_SOURCE, `<filesystem type='${type}'> on ${dir} has no <source>`);
}

/** What `<source>` must name. */
const NEEDED = { bridge: 'bridge', network: 'network', direct: 'dev' } as const;

function checkInterface({ type, source, mac, ips }: NetworkInterface): void {
  const needed = type === 'bridge' || type === 'network' || type === 'direct' ? NEEDED[type] : undefined;
  if (needed !== undefined && (source?.[needed] ?? '') === '') {
    malformed(`<interface type='${type}'> has no <source ${needed}=…>`);
  }
  if (mac !== undefined && isMulticast(mac.address)) {
    malformed(`<mac address='${mac.address}'> is a multicast address: an interface needs a unicast one`);
  }
  checkAddresses([...ips, ...(source?.ips ?? [])]);
}

/** The lowest bit of the first byte says so. */
function isMulticast(mac: string): boolean {
  return Number.parseInt(mac.slice(0, 2), 16) % 2 === 1;
}

function checkAddresses(ips: readonly InterfaceIp[]): void {
  for (const { address, peer } of ips) {
    for (const given of [address, ...(peer === undefined ? [] : [peer])]) {
      if (isIP(given) === 0) malformed(`<ip>: '${given}' is no IP address`);
    }
  }
}

const HOSTDEV_SOURCES = { storage: 'block', misc: 'char', net: 'interface' } as const;

function checkHostdev({ mode, type, source, ips }: Hostdev): void {
  if (mode !== 'capabilities') return;
  const needed = type === 'storage' || type === 'misc' || type === 'net' ? HOSTDEV_SOURCES[type] : undefined;
  if (needed !== undefined && (source[needed] ?? '') === '') {
    malformed(`<hostdev type='${type}'> has no <${needed}> in its <source>`);
  }
  checkAddresses(ips);
}
