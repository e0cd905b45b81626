/**
 * Which QOM types are asked for their properties when a QEMU is probed, and which may therefore be given to
 * `hasProperty`. Each costs half a millisecond: only types whose properties decide a command line are listed.
 */

/** Devices, asked with `device-list-properties`. A QEMU that lacks one says so, which is an answer too. */
export const PROBED_DEVICES = [
  'virtio-blk-pci',
  'virtio-net-pci',
  'virtio-scsi-pci',
  'virtio-net-ccw',
  'virtio-scsi-ccw',
  'vfio-pci',
  'scsi-hd',
  'ide-hd',
  'PIIX4_PM',
  'usb-redir',
  'usb-storage',
  'kvm-pit',
  'VGA',
  'vmware-svga',
  'qxl',
  'virtio-gpu-pci',
  'virtio-gpu-device',
  'ICH9-LPC',
  'virtio-balloon-pci',
  'virtio-balloon-ccw',
  'virtio-balloon-device',
  'intel-iommu',
  'mch',
  'nvdimm',
  'pcie-root-port',
  'usb-host',
  'vhost-user-fs-device',
  'virtio-mem-pci',
  'virtio-iommu-pci',
] as const;

/** Objects, asked with `qom-list-properties` (abstract types and what is not a device). */
export const PROBED_OBJECTS = ['memory-backend-file', 'memory-backend-memfd', 'none-machine'] as const;

/** Machine families whose properties are worth having, per target; `qom-list-properties` takes abstract types. */
export const PROBED_MACHINES = {
  i386: ['generic-pc-machine'],
  x86_64: ['generic-pc-machine'],
  arm: ['virt-machine'],
  aarch64: ['virt-machine'],
  ppc64: ['spapr-machine'],
  s390x: ['s390-ccw-virtio-machine'],
  riscv32: ['virt-machine'],
  riscv64: ['virt-machine'],
  loongarch64: ['virt-machine'],
} as const satisfies Record<string, readonly string[]>;

type ProbedMachine = (typeof PROBED_MACHINES)[keyof typeof PROBED_MACHINES][number];

/** A type whose properties are known after a probe. */
export type ProbedType = (typeof PROBED_DEVICES)[number] | (typeof PROBED_OBJECTS)[number] | ProbedMachine;
