/**
 * Changes of a container's hardware: file systems, interfaces and device nodes in and out, memory, what it says of itself. Of a running one they
 * are carried out in its namespaces.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf } from '../../../core/members.ts';
import { affectedBy, changeAffected, invalid, readAffected } from '../../../guest/affected-domain.ts';
import { closePorts, openPorts } from '../../../guest/guest-ports.ts';
import { changeMetadata, metadataOf } from '../../../guest/metadata.ts';
import {
  addDevice,
  findByAlias,
  findDevice,
  parseDevice,
  removeDevice,
  type SingleDevice,
} from '../../../guest/single-device.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import {
  type DeviceOperations,
  LIFECYCLE_FIELDS,
  type LifecycleAction,
  type LifecycleTrigger,
  type MetadataKind,
} from '../../device-operations.ts';
import type { AffectOptions } from '../../driver.ts';
import { showLimits } from '../host/init-groups.ts';
import { nameDevices } from '../plan/complete-definition.ts';
import type { LxcRecord } from './container-starter.ts';
import { plugDevice, unplugDevice } from './live-container-devices.ts';
import type { LxcParts } from './lxc-parts.ts';
import { unsupported } from './unsupported.ts';

export class ContainerDevices implements DeviceOperations {
  readonly #parts: LxcParts;

  constructor(parts: LxcParts) {
    this.#parts = parts;
  }

  async attachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    const { record, live, next, done } = await this.#begin(uuid, options);
    using _job = done;
    if (next !== undefined) {
      requireFreeTarget(next, parseDevice(xml, 'lxc'));
      addDevice(next, parseDevice(xml, 'lxc'));
    }
    const complete = next === undefined ? undefined : this.#parts.starter.prepare(next);
    if (live !== undefined) await this.#plug(record, live, parseDevice(xml, 'lxc'), complete, options.signal);
    if (complete !== undefined) await this.#parts.store.save(record, complete);
  }

  async detachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    await this.#detach(uuid, options, (domain) => {
      const wanted = parseDevice(xml, 'lxc');
      return { list: wanted.list, device: findDevice(domain, wanted) };
    });
  }

  async detachDeviceAlias(uuid: string, alias: string, options: AffectOptions = {}): Promise<void> {
    await this.#detach(uuid, options, (domain) => findByAlias(domain, alias));
  }

  /** Of a running container nothing can be changed in place; of the next start, everything can. */
  async updateDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    const { record, live, next, done } = await this.#begin(uuid, options);
    using _job = done;
    if (live !== undefined) {
      throw new VirtError('devices of a running container cannot be updated: detach it, and attach the new one', {
        code: ErrorCode.OPERATION_UNSUPPORTED,
        domain: ErrorDomain.LXC,
      });
    }
    if (next === undefined) return;
    const wanted = parseDevice(xml, 'lxc');
    removeDevice(next, wanted.list, findDevice(next, sameDevice(wanted)));
    addDevice(next, wanted);
    await this.#parts.store.save(record, this.#parts.starter.prepare(next));
  }

  async vcpuCount(uuid: string, options: AffectOptions = {}): Promise<number> {
    return readAffected(this.#parts.store.byUuid(uuid), options).domain.vcpu?.value ?? 1;
  }

  async setVcpus(): Promise<void> {
    throw unsupported('virDomainSetVcpusFlags');
  }

  async setVcpu(): Promise<void> {
    throw unsupported('virDomainSetVcpu');
  }

  /** The limit of its memory, as there is no balloon. */
  async setMemory(
    uuid: string,
    memoryKiB: number,
    options: AffectOptions & { readonly maximum?: boolean } = {},
  ): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    if (options.maximum === true && affectedBy(record, options).live !== undefined) {
      throw new VirtError('Requested operation is not valid: cannot resize the maximum memory on an active domain', {
        code: ErrorCode.OPERATION_INVALID,
        domain: ErrorDomain.LXC,
      });
    }
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => {
        if (options.maximum === true) domain.memory = { ...domain.memory, value: memoryKiB };
        else if (memoryKiB > (domain.memory?.value ?? 0)) throw invalid('Cannot set memory higher than max memory');
        if (options.maximum !== true || (domain.currentMemory ?? 0) > memoryKiB) domain.currentMemory = memoryKiB;
      },
      carryOut: async ({ cgroups, process }, domain) => {
        const limited = { ...domain, memtune: { ...domain.memtune, hardLimit: memoryKiB } };
        await cgroups.retune(limited, 'memory', { pid: process.pid, vcpus: new Map(), iothreads: new Map() });
        if (cgroups.place !== undefined) showLimits(cgroups.place);
      },
    });
  }

  async setMemoryStatsPeriod(): Promise<void> {
    throw unsupported('virDomainSetMemoryStatsPeriod');
  }

  async iothreads(): Promise<never> {
    throw unsupported('virDomainGetIOThreadInfo');
  }

  async addIothread(): Promise<void> {
    throw unsupported('virDomainAddIOThread');
  }

  async removeIothread(): Promise<void> {
    throw unsupported('virDomainDelIOThread');
  }

  async setIothread(): Promise<void> {
    throw unsupported('virDomainSetIOThreadParams');
  }

  async setLifecycleAction(
    uuid: string,
    trigger: LifecycleTrigger,
    action: LifecycleAction,
    options: AffectOptions = {},
  ): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => Object.assign(domain, { [LIFECYCLE_FIELDS[trigger]]: action }),
      carryOut: async () => {},
    });
  }

  async metadata(
    uuid: string,
    kind: MetadataKind,
    namespaceUri?: string,
    options: AffectOptions = {},
  ): Promise<string> {
    return metadataOf(this.#parts.store, uuid, { kind, namespaceUri }, options);
  }

  async setMetadata(
    uuid: string,
    change: Parameters<DeviceOperations['setMetadata']>[1],
    options: AffectOptions = {},
  ): Promise<void> {
    await changeMetadata(this.#parts, uuid, change, options);
  }

  async blockResize(): Promise<void> {
    throw unsupported('virDomainBlockResize');
  }

  async #begin(uuid: string, options: AffectOptions) {
    const record = this.#parts.store.byUuid(uuid);
    const done = await record.job.acquire(options.signal);
    try {
      const { live, config } = affectedBy(record, options);
      return { record, live, next: config === undefined ? undefined : cloneDefinition(config), done };
    } catch (error) {
      done[Symbol.dispose]();
      throw error;
    }
  }

  async #plug(
    record: LxcRecord,
    guest: NonNullable<LxcRecord['guest']>,
    wanted: SingleDevice,
    next: Domain | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { host, starter } = this.#parts;
    requireFreeTarget(guest.domain, wanted);
    const after = cloneDefinition(guest.domain);
    addDevice(after, wanted);
    const networks = host.siblings?.guestNetworks;
    // What both definitions get is one device: with one address.
    const twin = next === undefined ? undefined : next.devices?.interfaces.at(-1);
    if (wanted.list === 'interfaces' && twin !== undefined) Object.assign(wanted.device, { mac: twin.mac });
    const complete = starter.prepare(after);
    nameDevices(complete);
    const index = (complete.devices?.[wanted.list as 'filesystems' | 'interfaces' | 'hostdevs']?.length ?? 0) - 1;
    const device = complete.devices?.[wanted.list as 'filesystems' | 'interfaces' | 'hostdevs']?.[index];
    if (device === undefined) throw unpluggable(wanted.name);
    const own: Domain = { ...complete, devices: { ...emptied(complete), [wanted.list]: [device] } };
    if (wanted.list === 'interfaces') {
      await openPorts(
        own.devices?.interfaces ?? [],
        networks,
        { name: record.name, uuid: record.uuid, id: guest.number, driver: 'lxc' },
        signal,
      );
    }
    try {
      await plugDevice(guest, { list: wanted.list, device, index }, signal);
    } catch (error) {
      await closePorts(own.devices?.interfaces ?? [], networks);
      throw error;
    }
    addDevice(guest.domain, { ...wanted, device });
    await starter.persist(record);
    this.#parts.emit(record, { event: 'device-added', device: device.alias?.name ?? '' });
  }

  async #detach(
    uuid: string,
    options: AffectOptions,
    find: (domain: Domain) => { list: keyof Devices; device: DeviceInfo },
  ): Promise<void> {
    const { record, live, next, done } = await this.#begin(uuid, options);
    using _job = done;
    if (next !== undefined) {
      const { list, device } = find(next);
      removeDevice(next, list, device);
    }
    if (live !== undefined) {
      const { list, device } = find(live.domain);
      await unplugDevice(live, { list, device }, options.signal);
      const own: Domain = { ...live.domain, devices: { ...emptied(live.domain), [list]: [device] } };
      await closePorts(own.devices?.interfaces ?? [], this.#parts.host.siblings?.guestNetworks);
      removeDevice(live.domain, list, device);
      // Without its last interface it must not have the host's network after a reboot.
      if (list === 'interfaces') live.domain.features = { ...live.domain.features, privnet: true };
      await this.#parts.starter.persist(record);
      this.#parts.emit(record, { event: 'device-removed', device: device.alias?.name ?? '' });
    }
    if (next !== undefined) await this.#parts.store.save(record, next);
  }
}

/** What tells which device of the same kind is meant, without what is to change. */
function sameDevice(wanted: SingleDevice): SingleDevice {
  const target: unknown = Reflect.get(wanted.device, 'target');
  const mac: unknown = Reflect.get(wanted.device, 'mac');
  const key = wanted.list === 'interfaces' ? { mac } : { target };
  return { ...wanted, device: key as DeviceInfo };
}

/** The domain's devices, without any. */
function emptied({ devices }: Domain): Devices {
  const copy = { ...devices } as Devices;
  return Object.fromEntries(
    Object.entries(copy).map(([list, value]) => [list, Array.isArray(value) ? [] : value]),
  ) as Devices;
}

function unpluggable(name: string): VirtError {
  return new VirtError(`a <${name}> cannot join a running container: change the next start (--config)`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.LXC,
  });
}

/** Two file systems in one place cannot be told apart when one is to go. */
function requireFreeTarget({ devices }: Domain, { list, device }: SingleDevice): void {
  if (list !== 'filesystems') return;
  const dir = targetOf(device);
  if (dir === undefined || devices?.filesystems.every((other) => targetOf(other) !== dir) !== false) return;
  throw new VirtError(`target ${dir} already exists`, {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.LXC,
  });
}

function targetOf(device: DeviceInfo): string | undefined {
  const dir = memberOf(device, 'target', 'dir');
  return typeof dir === 'string' ? dir : undefined;
}
