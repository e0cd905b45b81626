/** Changes of a domain's hardware: devices in and out, media, virtual CPUs, memory, I/O threads, what it says of itself. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf } from '../../../core/members.ts';
import { affectedBy, changeAffected, invalid, readAffected } from '../../../guest/affected-domain.ts';
import { notRunning } from '../../../guest/domain-report.ts';
import { changeMetadata, metadataOf } from '../../../guest/metadata.ts';
import {
  addDevice,
  findByAlias,
  findDevice,
  parseDevice,
  removeDevice,
  type SingleDevice,
} from '../../../guest/single-device.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import {
  type DeviceOperations,
  type IothreadInfo,
  type IothreadSettings,
  LIFECYCLE_FIELDS,
  type LifecycleAction,
  type LifecycleTrigger,
  type MetadataKind,
} from '../../device-operations.ts';
import type { AffectOptions, Waiting } from '../../driver.ts';
import { setVcpuCount, switchVcpus } from '../live/vcpu-list.ts';
import { addIothread, readIothreads, removeIothread, setIothread } from './domain-iothreads.ts';
import type { DriverParts } from './driver-parts.ts';
import { executeAgentCommand } from './guest-agent.ts';
import { findDisk } from './guest-disks.ts';
import { attachLive, detachLive } from './live-plug.ts';
import { updateLiveDevice } from './live-update.ts';
import { plugVcpus, switchLiveVcpus } from './live-vcpus.ts';
import type { DomainRecord } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';

type VcpuOptions = AffectOptions & {
  readonly maximum?: boolean;
  readonly guest?: boolean;
  readonly hotpluggable?: boolean;
};

export class DomainDevices implements DeviceOperations {
  readonly #parts: DriverParts;

  constructor(parts: DriverParts) {
    this.#parts = parts;
  }

  async attachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const { live, config } = affectedBy(record, options);
    // Each definition gets a device of its own: what is filled in differs.
    const next =
      config === undefined
        ? undefined
        : await this.#completed(config, (domain) => addDevice(domain, this.#parse(xml, domain)), options);
    if (live !== undefined)
      await attachLive(
        this.#parts,
        { record, guest: live },
        { wanted: this.#parse(xml, live.domain), next },
        options.signal,
      );
    if (next !== undefined) await this.#parts.store.save(record, next);
  }

  async detachDevice(uuid: string, xml: string, options: AffectOptions = {}): Promise<void> {
    await this.#detach(uuid, options, (domain) => {
      const wanted = this.#parse(xml, domain);
      return { list: wanted.list, device: findDevice(domain, wanted) };
    });
  }

  async detachDeviceAlias(uuid: string, alias: string, options: AffectOptions = {}): Promise<void> {
    await this.#detach(uuid, options, (domain) => findByAlias(domain, alias));
  }

  async updateDevice(
    uuid: string,
    xml: string,
    options: AffectOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const { live, config } = affectedBy(record, options);
    const next =
      config === undefined
        ? undefined
        : await this.#completed(
            config,
            (domain) => {
              const wanted = this.#parse(xml, domain);
              const found = findDevice(domain, wanted);
              const { address, alias } = found;
              for (const key of Object.keys(found)) Reflect.deleteProperty(found, key);
              Object.assign(found, { address, alias }, wanted.device);
            },
            options,
          );
    if (live !== undefined) {
      await updateLiveDevice(live, this.#parse(xml, live.domain), this.#parts.starter, options);
      await this.#parts.starter.persist(record);
    }
    if (next !== undefined) await this.#parts.store.save(record, next);
  }

  async vcpuCount(uuid: string, options: VcpuOptions = {}): Promise<number> {
    const record = this.#parts.store.byUuid(uuid);
    if (options.guest === true) {
      const reply = await executeAgentCommand(requireGuest(record), 'guest-get-vcpus', undefined, options.signal);
      return Array.isArray(reply) ? reply.filter((cpu: unknown) => isOnline(cpu)).length : 0;
    }
    const { vcpu } = readAffected(record, options).domain;
    return options.maximum === true ? (vcpu?.value ?? 1) : (vcpu?.current ?? vcpu?.value ?? 1);
  }

  async setVcpus(uuid: string, count: number, options: VcpuOptions = {}): Promise<void> {
    if (!Number.isInteger(count) || count < 1) throw invalid(`the number of virtual CPUs is at least 1, not ${count}`);
    if (options.guest === true) return await this.#setGuestVcpus(uuid, count, options);
    const record = this.#parts.store.byUuid(uuid);
    if (options.maximum === true) {
      if (affectedBy(record, options).live !== undefined) {
        throw invalid('the maximum number of virtual CPUs of a running domain cannot be changed: use --config');
      }
      return await this.#changeConfig(record, options, (domain) => {
        const { current } = domain.vcpu ?? {};
        domain.vcpu = { placement: 'static', ...domain.vcpu, value: count };
        if (current !== undefined && current >= count) delete domain.vcpu.current;
        // Single ones are chosen anew.
        delete domain.vcpus;
        // A topology says how many there are.
        if (domain.cpu?.topology !== undefined) delete domain.cpu.topology;
      });
    }
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setVcpuCount(domain, count, options),
      carryOut: async (guest) => await plugVcpus(guest, count, options.signal),
    });
  }

  async setVcpu(uuid: string, vcpus: readonly number[], enabled: boolean, options: AffectOptions = {}): Promise<void> {
    if (vcpus.length === 0) throw invalid('no virtual CPU was chosen');
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const { live, config } = affectedBy(record, options);
    const next = config === undefined ? undefined : cloneDefinition(config);
    if (next !== undefined) switchVcpus(next, vcpus, enabled);
    if (live !== undefined) {
      await switchLiveVcpus(live, vcpus, enabled, options.signal);
      await this.#parts.starter.persist(record);
    }
    if (next !== undefined) await this.#parts.store.save(record, next);
  }

  async setMemory(
    uuid: string,
    memoryKiB: number,
    options: AffectOptions & { readonly maximum?: boolean } = {},
  ): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    if (options.maximum === true) {
      if (affectedBy(record, options).live !== undefined) {
        throw new VirtError('Requested operation is not valid: cannot resize the maximum memory on an active domain', {
          code: ErrorCode.OPERATION_INVALID,
          domain: ErrorDomain.QEMU,
        });
      }
      return await this.#changeConfig(record, options, (domain) => {
        domain.memory = { ...domain.memory, value: memoryKiB };
        if ((domain.currentMemory ?? 0) > memoryKiB) domain.currentMemory = memoryKiB;
      });
    }
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => {
        if (memoryKiB > (domain.memory?.value ?? 0)) throw invalid('cannot set memory higher than max memory');
        domain.currentMemory = memoryKiB;
      },
      carryOut: async (guest) => {
        if ((guest.domain.devices?.memballoon?.model ?? 'none') === 'none') {
          throw new VirtError(
            'Requested operation is not valid: unable to change memory of active domain without the balloon device and guest OS balloon driver',
            { code: ErrorCode.OPERATION_INVALID, domain: ErrorDomain.QEMU },
          );
        }
        await guest.qmp.execute('balloon', { value: memoryKiB * 1024 }, { signal: options.signal });
      },
    });
  }

  async setMemoryStatsPeriod(uuid: string, seconds: number, options: AffectOptions = {}): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: ({ devices }) => {
        if (devices?.memballoon === undefined || devices.memballoon.model === 'none') {
          throw new VirtError('Requested operation is not valid: the domain has no memory balloon', {
            code: ErrorCode.OPERATION_INVALID,
            domain: ErrorDomain.QEMU,
          });
        }
        devices.memballoon.stats = { period: seconds };
      },
      carryOut: async (guest) => {
        const path = `/machine/peripheral/${guest.domain.devices?.memballoon?.alias?.name ?? 'balloon0'}`;
        const args = { path, property: 'guest-stats-polling-interval', value: seconds };
        await guest.qmp.execute('qom-set', args, { signal: options.signal });
      },
    });
  }

  async iothreads(uuid: string, options: AffectOptions = {}): Promise<readonly IothreadInfo[]> {
    return await readIothreads(this.#parts, uuid, options);
  }

  async addIothread(uuid: string, id: number, options: AffectOptions = {}): Promise<void> {
    await addIothread(this.#parts, uuid, id, options);
  }

  async removeIothread(uuid: string, id: number, options: AffectOptions = {}): Promise<void> {
    await removeIothread(this.#parts, uuid, id, options);
  }

  async setIothread(uuid: string, id: number, settings: IothreadSettings, options: AffectOptions = {}): Promise<void> {
    await setIothread(this.#parts, uuid, { id, settings }, options);
  }

  async setLifecycleAction(
    uuid: string,
    trigger: LifecycleTrigger,
    action: LifecycleAction,
    options: AffectOptions = {},
  ): Promise<void> {
    if (action.startsWith('coredump') && trigger !== 'crash') {
      throw invalid(`lifecycle action '${action}' is for crashes only`);
    }
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => Object.assign(domain, { [LIFECYCLE_FIELDS[trigger]]: action }),
      // What else happens then is decided here, by the live definition.
      carryOut: async (guest) => {
        if (trigger !== 'reboot') return;
        const reboot = action === 'destroy' ? 'shutdown' : 'reset';
        await guest.qmp.execute('set-action', { reboot }, { signal: options.signal });
      },
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

  async blockResize(uuid: string, disk: string, sizeBytes: bigint, { signal }: Waiting = {}): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    const guest = requireGuest(record);
    const { alias } = findDisk(guest.domain, disk);
    const reply: unknown = await guest.qmp.execute('query-block', undefined, { signal });
    const block: unknown = (Array.isArray(reply) ? reply : []).find((one: unknown) =>
      String(memberOf(one, 'qdev'))
        .split('/')
        .includes(alias?.name ?? '\0'),
    );
    const node = memberOf(block, 'inserted', 'node-name');
    if (typeof node !== 'string') throw invalid(`disk '${disk}' has no medium`);
    await guest.qmp.execute('block_resize', { 'node-name': node, size: Number(sizeBytes) }, { signal });
  }

  async #detach(
    uuid: string,
    options: AffectOptions,
    find: (domain: Domain) => ReturnType<typeof findByAlias>,
  ): Promise<void> {
    const record = this.#parts.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const { live, config } = affectedBy(record, options);
    const next =
      config === undefined
        ? undefined
        : await this.#completed(
            config,
            (domain) => {
              const { list, device } = find(domain);
              removeDevice(domain, list, device);
            },
            options,
          );
    if (live !== undefined) await detachLive(this.#parts, { record, guest: live }, find, options.signal);
    if (next !== undefined) await this.#parts.store.save(record, next);
  }

  async #setGuestVcpus(uuid: string, count: number, options: VcpuOptions): Promise<void> {
    const guest = requireGuest(this.#parts.store.byUuid(uuid));
    const reply = await executeAgentCommand(guest, 'guest-get-vcpus', undefined, options.signal);
    const cpus = (Array.isArray(reply) ? reply : []).map((cpu: unknown) => ({
      'logical-id': Number(memberOf(cpu, 'logical-id')),
      online: isOnline(cpu),
    }));
    const vcpus = cpus
      .map((cpu, index) => ({ ...cpu, online: index < count }))
      .filter((cpu, index) => cpu.online !== cpus[index]?.online);
    if (vcpus.length > 0) await executeAgentCommand(guest, 'guest-set-vcpus', { vcpus }, options.signal);
  }

  async #changeConfig(record: DomainRecord, options: AffectOptions, change: (domain: Domain) => void): Promise<void> {
    using _job = await record.job.acquire(options.signal);
    const { config } = affectedBy(record, options);
    if (config === undefined) throw notRunning(record);
    await this.#parts.store.save(record, await this.#completed(config, change, options));
  }

  /** A changed definition with everything filled in, as defining it would. */
  async #completed(config: Domain, change: (domain: Domain) => void, { signal }: Waiting): Promise<Domain> {
    const copy = cloneDefinition(config);
    change(copy);
    return (await this.#parts.starter.prepare(copy, { signal })).context.domain;
  }

  #parse(xml: string, { type }: Domain): SingleDevice {
    return parseDevice(xml, type);
  }
}

function requireGuest(record: DomainRecord): RunningGuest {
  if (record.guest === undefined) throw notRunning(record);
  return record.guest;
}

function isOnline(cpu: unknown): boolean {
  return memberOf(cpu, 'online') === true;
}
