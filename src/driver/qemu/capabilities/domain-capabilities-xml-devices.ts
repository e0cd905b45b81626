/** The `<devices>` part of domain capabilities: which devices, models and back ends a guest may ask for. Pure. */

import { chosen, element, enumeration, supported } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { hasDevice, hasFeature, hasOption, type QemuCapabilities } from './capabilities.ts';
import { isArmArch, isX86Arch } from './capabilities-xml-arch.ts';

export interface DeviceInput {
  readonly capabilities: QemuCapabilities;
  /** libvirt's name. */
  readonly arch: string;
  /** Canonical machine type. */
  readonly machine: string;
  readonly host: DeviceHost;
}

/** What the host must have for some devices. */
export interface DeviceHost {
  /** PCI devices can be given to guests: IOMMU groups and /dev/vfio/vfio are there. */
  readonly vfio: boolean;
  readonly swtpm: boolean;
  readonly passt: boolean;
}

export function devicesElement(input: DeviceInput): XmlElement {
  const { capabilities: caps } = input;
  return element(
    'devices',
    {},
    disk(input),
    enumOf('graphics', 'type', {
      sdl: hasFeature(caps, 'display-sdl'),
      vnc: hasFeature(caps, 'vnc'),
      spice: hasFeature(caps, 'spice'),
      'egl-headless': hasFeature(caps, 'display-egl-headless'),
      dbus: hasFeature(caps, 'display-dbus'),
    }),
    video(caps),
    hostdev(input),
    rng(caps),
    filesystem(caps),
    tpm(input),
    enumOf('redirdev', 'bus', { usb: hasDevice(caps, 'usb-redir') }),
    enumOf('channel', 'type', {
      pty: true,
      unix: true,
      spicevmc: hasFeature(caps, 'chardev-spicevmc'),
      'qemu-vdagent': hasFeature(caps, 'chardev-qemu-vdagent'),
      dbus: hasFeature(caps, 'chardev-dbus'),
    }),
    crypto(caps),
    enumOf('interface', 'backendType', {
      default: hasFeature(caps, 'netdev-user'),
      passt: input.host.passt && hasFeature(caps, 'netdev-stream'),
    }),
    panic(input),
    console(caps),
  );
}

/** A device with one list of choices, supported when there is any. */
function enumOf(name: string, list: string, choices: Readonly<Record<string, boolean>>): XmlElement {
  const values = chosen(choices);
  return supported(name, values.length > 0, enumeration(list, values));
}

/** virtio devices come in up to three models. */
function virtioModels(caps: QemuCapabilities, device: string): Record<string, boolean> {
  const present = [`${device}-pci`, `${device}-ccw`, `${device}-device`].some((name) => hasDevice(caps, name));
  return {
    virtio: present,
    'virtio-transitional': present && hasDevice(caps, `${device}-pci-transitional`),
    'virtio-non-transitional': present && hasDevice(caps, `${device}-pci-non-transitional`),
  };
}

function disk({ capabilities: caps, arch, machine }: DeviceInput): XmlElement {
  const floppy = !arch.startsWith('ppc') && arch !== 's390x';
  const i440fx = isX86Arch(arch) && /^(?:pc$|pc-(?:i440fx-|\d|v)|isapc$)/.test(machine);
  return supported(
    'disk',
    true,
    enumeration('diskDevice', chosen({ disk: true, cdrom: true, floppy, lun: true })),
    enumeration(
      'bus',
      chosen({
        ide: i440fx || ['malta', 'sun4u', 'g3beige'].includes(machine),
        fdc: floppy,
        scsi: hasDevice(caps, 'virtio-scsi-pci') || hasDevice(caps, 'virtio-scsi-ccw') || hasDevice(caps, 'lsi53c895a'),
        virtio: virtioModels(caps, 'virtio-blk')['virtio'] === true,
        usb: hasDevice(caps, 'usb-storage'),
        sata: hasDevice(caps, 'ich9-ahci'),
      }),
    ),
    enumeration('model', chosen(virtioModels(caps, 'virtio-blk'))),
  );
}

function video(caps: QemuCapabilities): XmlElement {
  return enumOf('video', 'modelType', {
    vga: hasDevice(caps, 'VGA'),
    cirrus: hasDevice(caps, 'cirrus-vga'),
    vmvga: hasDevice(caps, 'vmware-svga'),
    qxl: hasDevice(caps, 'qxl'),
    virtio: virtioModels(caps, 'virtio-gpu')['virtio'] === true,
    none: true,
    bochs: hasDevice(caps, 'bochs-display'),
    ramfb: hasDevice(caps, 'ramfb'),
  });
}

function hostdev({ capabilities: caps, host }: DeviceInput): XmlElement {
  const vfio = host.vfio && hasDevice(caps, 'vfio-pci');
  return supported(
    'hostdev',
    true,
    enumeration('mode', ['subsystem']),
    enumeration('startupPolicy', ['default', 'mandatory', 'requisite', 'optional']),
    enumeration('subsysType', chosen({ usb: true, pci: true, scsi: hasDevice(caps, 'scsi-generic') })),
    enumeration('capsType', []),
    enumeration('pciBackend', chosen({ default: vfio, vfio })),
  );
}

function rng(caps: QemuCapabilities): XmlElement {
  const models = virtioModels(caps, 'virtio-rng');
  return supported(
    'rng',
    models['virtio'] === true,
    enumeration('model', chosen(models)),
    enumeration(
      'backendModel',
      chosen({
        random: hasDevice(caps, 'rng-random'),
        egd: hasDevice(caps, 'rng-egd'),
        builtin: hasDevice(caps, 'rng-builtin'),
      }),
    ),
  );
}

function filesystem(caps: QemuCapabilities): XmlElement {
  const shared = hasOption(caps, 'fsdev') && virtioModels(caps, 'virtio-9p')['virtio'] === true;
  return enumOf('filesystem', 'driverType', {
    path: shared,
    handle: shared,
    virtiofs: hasDevice(caps, 'vhost-user-fs-device'),
  });
}

/** `spapr-tpm-proxy` and others are written as QEMU names them. */
function tpm({ capabilities: caps, host }: DeviceInput): XmlElement {
  const emulator = host.swtpm && caps.tpmTypes.includes('emulator');
  const models = ['tpm-tis', 'tpm-crb', 'tpm-spapr', 'spapr-tpm-proxy'].filter(
    (model) => caps.tpmModels.includes(model) || hasDevice(caps, model) || hasDevice(caps, `${model}-device`),
  );
  const backends = chosen({
    passthrough: caps.tpmTypes.includes('passthrough'),
    emulator,
    external: caps.tpmTypes.includes('emulator'),
  });
  return supported(
    'tpm',
    models.length > 0 && backends.length > 0,
    enumeration('model', models),
    enumeration('backendModel', backends),
    emulator ? enumeration('backendVersion', ['1.2', '2.0']) : undefined,
  );
}

function crypto(caps: QemuCapabilities): XmlElement {
  const backends = chosen({
    builtin: hasDevice(caps, 'cryptodev-backend-builtin'),
    lkcf: hasFeature(caps, 'object-cryptodev-lkcf'),
  });
  return supported(
    'crypto',
    virtioModels(caps, 'virtio-crypto')['virtio'] === true && backends.length > 0,
    enumeration('model', ['virtio']),
    enumeration('type', ['qemu']),
    enumeration('backendModel', backends),
  );
}

function panic({ capabilities: caps, arch }: DeviceInput): XmlElement {
  return enumOf('panic', 'model', {
    isa: isX86Arch(arch) && hasDevice(caps, 'pvpanic'),
    pseries: arch.startsWith('ppc64'),
    hyperv: isX86Arch(arch),
    s390: arch === 's390x',
    pvpanic: (isX86Arch(arch) || isArmArch(arch)) && hasDevice(caps, 'pvpanic-pci'),
  });
}

function console(caps: QemuCapabilities): XmlElement {
  return enumOf('console', 'type', {
    null: true,
    vc: true,
    pty: true,
    dev: true,
    file: true,
    pipe: true,
    stdio: true,
    udp: true,
    tcp: true,
    unix: true,
    'qemu-vdagent': hasFeature(caps, 'chardev-qemu-vdagent'),
    dbus: hasFeature(caps, 'chardev-dbus'),
  });
}

/** Whether guest memory may come from there. */
export function memoryBackingElement(caps: QemuCapabilities): XmlElement {
  return supported(
    'memoryBacking',
    true,
    enumeration('sourceType', chosen({ file: true, anonymous: true, memfd: hasDevice(caps, 'memory-backend-memfd') })),
  );
}
