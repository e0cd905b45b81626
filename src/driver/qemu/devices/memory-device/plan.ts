/** A memory device: its backend, and the device that shows it to the guest. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasProperty } from '../../capabilities/capabilities.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props, PropValue } from '../../plan/props.ts';
import { type BackendRequest, isPreallocated, planMemoryBackend } from '../../sections/memory-backend.ts';
import { moduleSizeKiB } from '../../sections/memory-sizes.ts';
import { virtioDeviceName } from '../virtio.ts';

/** SGX enclave memory has no device: the machine takes its backend (`-machine sgx-epc.N.memdev=`). */
export function planMemoryDevice(device: MemoryDevice, context: PlanContext): Part[] {
  const { model, target, uuid, alias } = device;
  const request = backendRequest(device, context);
  const backend = planMemoryBackend(context, request).parts;
  if (model === 'sgx-epc') return backend;
  const props: Props = {
    driver: driverOf(device),
    node: target.node,
    'label-size': model === 'nvdimm' ? bytes(target.label?.size) : undefined,
    'block-size': model === 'virtio-mem' ? bytes(target.block) : undefined,
    'requested-size': model === 'virtio-mem' ? bytes(target.requested) : undefined,
    memdev: request.id,
    prealloc: fillsWhatItPlugs(context, request) ? true : undefined,
    memaddr: guestAddress(target.address?.base),
    'dynamic-memslots': target.dynamicMemslots,
    uuid: model === 'nvdimm' ? uuid : undefined,
    unarmed: model === 'nvdimm' && target.readonly === true ? true : undefined,
    id: alias?.name,
    ...addressProps(device, context),
  };
  return [...backend, { kind: 'device', props }];
}

function backendRequest(device: MemoryDevice, { domain }: PlanContext): BackendRequest {
  const { model, target, source, access, discard, alias } = device;
  return {
    id: `mem${alias?.name ?? ''}`,
    fileName: alias?.name ?? '',
    sizeKiB: moduleSizeKiB(domain, device),
    cell: target.node ?? -1,
    model,
    nodes: source?.nodemask,
    pageSizeKiB: source?.pagesize,
    access,
    discard,
    path: source?.path,
    alignKiB: source?.alignsize,
    pmem: source?.pmem,
  };
}

function driverOf(device: MemoryDevice): string {
  switch (device.model) {
    case 'dimm':
      return 'pc-dimm';
    case 'virtio-pmem':
    case 'virtio-mem':
      return virtioDeviceName(device.model, device);
    default:
      return device.model;
  }
}

function fillsWhatItPlugs(context: PlanContext, request: BackendRequest): boolean {
  if (request.model !== 'virtio-mem' || !hasProperty(context.caps, 'virtio-mem-pci', 'prealloc')) return false;
  return isPreallocated(context, request);
}

function bytes(sizeKiB: number | undefined): number | undefined {
  return sizeKiB === undefined ? undefined : sizeKiB * 1024;
}

function guestAddress(base: bigint | undefined): PropValue | undefined {
  if (base === undefined) return undefined;
  return base <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(base) : base;
}
