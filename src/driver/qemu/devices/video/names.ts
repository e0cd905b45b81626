/** Which of QEMU's devices a video card is: with VGA compatibility for the primary one, where there is such a device. */
import type { Video, VideoType } from '../../../../model/domain/devices/video.ts';
import { hasDevice, type QemuCapabilities } from '../../capabilities/capabilities.ts';

/** QEMU's device, and whether it is a virtio device whose name has yet to get its transport. */
export interface VideoDevice {
  readonly name: string;
  readonly virtio: boolean;
}

const VGA_NAMES: { readonly [T in VideoType]?: string } = {
  vga: 'VGA',
  cirrus: 'cirrus-vga',
  vmvga: 'vmware-svga',
  qxl: 'qxl-vga',
  bochs: 'bochs-display',
  ramfb: 'ramfb',
};

/** The device of a card; undefined for models that are not QEMU's. */
export function videoDevice(video: Video, caps: QemuCapabilities): VideoDevice | undefined {
  const type = video.model?.type;
  const isPrimary = video.model?.primary === true;
  if (type === 'virtio') return virtioVideoDevice(video, isPrimary, caps);
  const name = type === 'qxl' && !isPrimary ? 'qxl' : VGA_NAMES[type ?? 'none'];
  return name === undefined ? undefined : { name, virtio: false };
}

function virtioVideoDevice(video: Video, isPrimary: boolean, caps: QemuCapabilities): VideoDevice {
  if (video.driver?.name === 'vhostuser') {
    const vga = isPrimary && hasDevice(caps, 'vhost-user-vga');
    return vga ? { name: 'vhost-user-vga', virtio: false } : { name: 'vhost-user-gpu', virtio: true };
  }
  const wantsGl = video.model?.acceleration?.accel3d === true;
  if (isPrimary && hasDevice(caps, 'virtio-vga')) {
    return { name: wantsGl && hasDevice(caps, 'virtio-vga-gl') ? 'virtio-vga-gl' : 'virtio-vga', virtio: false };
  }
  const gl = wantsGl && (hasDevice(caps, 'virtio-gpu-gl-pci') || hasDevice(caps, 'virtio-gpu-gl-device'));
  return { name: gl ? 'virtio-gpu-gl' : 'virtio-gpu', virtio: true };
}

/** Whether this QEMU has the model at all. */
export function hasVideoModel(type: VideoType, caps: QemuCapabilities): boolean {
  switch (type) {
    case 'none':
      return true;
    case 'virtio':
      return ['pci', 'device', 'ccw'].some((transport) => hasDevice(caps, `virtio-gpu-${transport}`));
    case 'qxl':
      return hasDevice(caps, 'qxl') || hasDevice(caps, 'qxl-vga');
    default: {
      const name = VGA_NAMES[type];
      return name !== undefined && hasDevice(caps, name);
    }
  }
}
