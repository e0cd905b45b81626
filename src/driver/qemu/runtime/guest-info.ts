/** What a guest's agent tells, as libvirt's parameters (virDomainGetGuestInfo). Groups that an agent does not know are left out. */
import { VirtError } from '../../../core/errors.ts';
import { memberOf, textIn } from '../../../core/members.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { QmpError } from '../../../qmp/errors.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { GuestFilesystem, GuestInfoGroup } from '../../interaction-operations.ts';

type Ask = (command: string, args?: JsonObject) => Promise<unknown>;
type Parameters = Record<string, number | bigint | string | boolean>;

const READERS: Readonly<Record<GuestInfoGroup, (ask: Ask, domain: Domain) => Promise<Parameters>>> = {
  users: async (ask) =>
    numbered('user', await ask('guest-get-users'), (user) => ({
      name: textIn(user, 'user'),
      domain: textIn(user, 'domain'),
      'login-time': BigInt(Math.round(Number(memberOf(user, 'login-time') ?? 0) * 1000)),
    })),
  os: async (ask) => {
    const found = await ask('guest-get-osinfo');
    const names = [
      'id',
      'name',
      'pretty-name',
      'version',
      'version-id',
      'kernel-release',
      'kernel-version',
      'machine',
      'variant',
      'variant-id',
    ];
    return withoutEmpty(Object.fromEntries(names.map((name) => [`os.${name}`, textIn(found, name)])));
  },
  timezone: async (ask) => {
    const found = await ask('guest-get-timezone');
    return withoutEmpty({
      'timezone.name': textIn(found, 'zone'),
      'timezone.offset': Number(memberOf(found, 'offset') ?? 0),
    });
  },
  hostname: async (ask) => ({ hostname: textIn(await ask('guest-get-host-name'), 'host-name') }),
  filesystem: async (ask, domain) =>
    numbered('fs', await ask('guest-get-fsinfo'), (fs) => ({
      name: textIn(fs, 'name'),
      mountpoint: textIn(fs, 'mountpoint'),
      fstype: textIn(fs, 'type'),
      ...sizes(fs),
      ...numbered('disk', memberOf(fs, 'disk'), (disk) => ({
        alias: aliasOf(disk, domain),
        serial: textIn(disk, 'serial'),
        device: textIn(disk, 'dev'),
      })),
    })),
  disks: async (ask) =>
    numbered('disk', await ask('guest-get-disks'), (disk) => ({
      name: textIn(disk, 'name'),
      partition: memberOf(disk, 'partition') === true,
      alias: textIn(disk, 'alias'),
    })),
  interfaces: async (ask) =>
    numbered('if', await ask('guest-network-get-interfaces'), (one) => ({
      name: textIn(one, 'name'),
      hwaddr: textIn(one, 'hardware-address'),
      ...numbered('addr', memberOf(one, 'ip-addresses'), (address) => ({
        type: textIn(address, 'ip-address-type'),
        addr: textIn(address, 'ip-address'),
        prefix: Number(memberOf(address, 'prefix') ?? 0),
      })),
    })),
  load: async (ask) => {
    const found = await ask('guest-get-load');
    return Object.fromEntries(
      ['1m', '5m', '15m'].map((span) => [`load.${span}`, Number(memberOf(found, `load${span}`) ?? 0)]),
    );
  },
};

/** Asked one after the other: an agent answers one command at a time. */
export async function readGuestInfo(groups: readonly GuestInfoGroup[], ask: Ask, domain: Domain): Promise<Parameters> {
  const found: Parameters = {};
  const failures: unknown[] = [];
  for (const group of groups) {
    try {
      Object.assign(found, await READERS[group](ask, domain));
    } catch (error) {
      // Of several groups those that this agent lacks are left out; of one alone the refusal is the answer.
      if (groups.length === 1 || !isRefusal(error)) throw error;
      failures.push(error);
    }
  }
  if (failures.length === groups.length && groups.length > 0) throw failures[0];
  return found;
}

/** What `guest-get-fsinfo` says. */
export function filesystemsOf(reply: unknown, domain: Domain): GuestFilesystem[] {
  return (Array.isArray(reply) ? reply : []).map((fs: unknown) => {
    const disks: unknown = memberOf(fs, 'disk');
    return {
      mountPoint: textIn(fs, 'mountpoint'),
      name: textIn(fs, 'name'),
      type: textIn(fs, 'type'),
      disks: (Array.isArray(disks) ? disks : []).map((disk) => aliasOf(disk, domain)).filter((name) => name !== ''),
    };
  });
}

function isRefusal(error: unknown): boolean {
  return error instanceof VirtError && error.cause instanceof QmpError;
}

/** `PREFIX.count` and each member as `PREFIX.N.name`. */
function numbered(prefix: string, list: unknown, read: (one: unknown) => Parameters): Parameters {
  const items: unknown[] = Array.isArray(list) ? list : [];
  const found: Parameters = { [`${prefix}.count`]: items.length };
  items.forEach((item, index) => {
    for (const [name, value] of Object.entries(withoutEmpty(read(item)))) found[`${prefix}.${index}.${name}`] = value;
  });
  return found;
}

function sizes(fs: unknown): Parameters {
  const found: Parameters = {};
  for (const name of ['total-bytes', 'used-bytes']) {
    const value = memberOf(fs, name);
    if (typeof value === 'number') found[name] = BigInt(Math.trunc(value));
  }
  return found;
}

/** The definition's name of a disk that the guest tells by its address. */
function aliasOf(disk: unknown, domain: Domain): string {
  const pci = memberOf(disk, 'pci-controller');
  const isThere = ({ address }: DeviceInfo): boolean =>
    address?.type === 'pci' &&
    (address.domain ?? 0) === memberOf(pci, 'domain') &&
    address.bus === memberOf(pci, 'bus') &&
    address.slot === memberOf(pci, 'slot') &&
    address.function === memberOf(pci, 'function');
  // A disk that is no PCI device itself is told by its controller's address and its place there.
  const controllers = (domain.devices?.controllers ?? []).filter(isThere);
  const found = (domain.devices?.disks ?? []).find((candidate) => {
    const { address } = candidate;
    if (address?.type !== 'drive') return isThere(candidate);
    return (
      controllers.some(({ type, index }) => type === candidate.target?.bus && index === address.controller) &&
      (address.bus ?? 0) === memberOf(disk, 'bus') &&
      (address.target ?? 0) === memberOf(disk, 'target') &&
      (address.unit ?? 0) === memberOf(disk, 'unit')
    );
  });
  return found?.target?.dev ?? '';
}

function withoutEmpty(parameters: Parameters): Parameters {
  return Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== ''));
}
