/**
 * The host that the expectations were made for: a usable KVM, four host processors on one NUMA node, firmware in Fedora's
 * places and libvirt's system paths. The planner takes hosts as data, so no part of this machine shows through.
 */
import type { QemuConfig } from '../../src/driver/qemu/config.ts';
import type { FirmwareDescriptor } from '../../src/host/firmware.ts';
import type { HostFacts } from '../../src/host/host-facts.ts';

const NUMA_NODES = 4;

/** Facts of the mocked host. */
export function mockHost(descriptors: readonly FirmwareDescriptor[] = []): HostFacts {
  return {
    arch: 'x86_64',
    cpu: { vendor: 'AuthenticAMD', family: 23, model: 49, flags: [] },
    topology: {
      cpus: Array.from({ length: 8 }, (_, id) => ({ id, socket: 0, die: 0, core: id, siblings: [id] })),
      sockets: 1,
      cores: 8,
      threads: 1,
    },
    numaNodes: Array.from({ length: NUMA_NODES }, (_, id) => ({
      id,
      cpus: [2 * id, 2 * id + 1],
      memoryKiB: 4_194_304,
      distances: Array.from({ length: NUMA_NODES }, (_, other) => (other === id ? 10 : 20)),
      hugePages: [{ sizeKiB: 2048, total: 1024, free: 1024 }],
    })),
    pageSizesKiB: [4, 2048, 1_048_576],
    memoryKiB: 16_777_216,
    kvm: { usable: true, timeMs: 50 },
    whoAmI: { uid: 0, gid: 0, groups: [0], userNamespace: false },
    firmware: { descriptors, problems: [] },
    helpers: {},
  };
}

/** Settings that the expectations were made with. */
export const MOCK_CONFIG: Partial<QemuConfig> = {
  chardevTlsX509CertDir: '/etc/pki/libvirt-chardev',
  vncTlsX509CertDir: '/etc/pki/libvirt-vnc',
  spiceTlsX509CertDir: '/etc/pki/libvirt-spice',
  spicePassword: '123456',
  hugetlbfsMounts: [
    { path: '/dev/hugepages2M', sizeKiB: 2048, default: true },
    { path: '/dev/hugepages1G', sizeKiB: 1_048_576, default: false },
  ],
};
