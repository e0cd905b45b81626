/** `<memory>` devices: DIMMs, NVDIMMs, virtio-pmem, virtio-mem and SGX enclave memory. All sizes are in KiB. */
import { attr, child, flag, type Infer, required, struct } from '../../schema/schema.ts';
import { sizeKiB } from '../../schema/sizes.ts';
import { cpuset, oneOf, text, uint, uint64, uuid, type ValueCodec, yesNo } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

/** Written in hexadecimal, as libvirt does. */
const guestAddress: ValueCodec<bigint> = { ...uint64, format: (value) => `0x${value.toString(16)}` };

const source = struct(() => ({
  nodemask: child(cpuset),
  pagesize: child(sizeKiB()),
  path: child(text),
  alignsize: child(sizeKiB()),
  pmem: flag(),
}));

const target = struct(() => ({
  dynamicMemslots: attr(yesNo),
  size: required(child(sizeKiB())),
  node: child(uint),
  label: child(struct({ size: required(child(sizeKiB())) })),
  block: child(sizeKiB()),
  requested: child(sizeKiB()),
  current: child(sizeKiB()),
  readonly: flag(),
  /** Guest-physical address. */
  address: child(struct({ base: required(attr(guestAddress)) })),
}));

export const memoryDevice = struct(() => ({
  model: required(attr(oneOf('dimm', 'nvdimm', 'virtio-pmem', 'virtio-mem', 'sgx-epc'))),
  access: attr(oneOf('shared', 'private')),
  discard: attr(yesNo),
  uuid: child(uuid),
  source: child(source),
  target: required(child(target)),
  ...deviceInfoFields,
}));
export interface MemoryDevice extends Infer<typeof memoryDevice> {}
