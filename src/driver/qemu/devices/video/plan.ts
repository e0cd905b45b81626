/** Video cards as QEMU's devices, with the process that draws for those whose back end is vhost-user. */
import type { Video, VideoModel } from '../../../../model/domain/devices/video.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasProperty } from '../../capabilities/capabilities.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { videoDevice } from './names.ts';

export function planVideo(video: Video, context: PlanContext): Part[] {
  const { model } = video;
  const device = videoDevice(video, context.caps);
  if (model === undefined || device === undefined) return [];
  const isVhostUser = video.driver?.name === 'vhostuser';
  const card: Part = {
    kind: 'device',
    props: {
      driver: device.virtio ? virtioDeviceName(device.name, video) : device.name,
      ...(device.virtio ? virtioOptionProps(video.driver) : {}),
      id: video.alias?.name,
      ...modelProps(model, video, context),
      xres: model.resolution?.x,
      yres: model.resolution?.y,
      ...addressProps(video, context),
    },
  };
  return isVhostUser ? [planVhostUser(video, context), card] : [card];
}

function modelProps(model: VideoModel, video: Video, context: PlanContext): Props {
  const { heads, vram = 0 } = model;
  switch (model.type) {
    case 'qxl':
      return {
        max_outputs: heads,
        ram_size: (model.ram ?? 0) * 1024,
        vram_size: vram * 1024,
        vram64_size_mb: Math.floor((model.vram64 ?? 0) / 1024),
        vgamem_mb: Math.floor((model.vgamem ?? 0) / 1024),
      };
    case 'virtio':
      if (video.driver?.name === 'vhostuser') return { max_outputs: heads, chardev: chardevId(video) };
      return { virgl: virglOf(model, context), max_outputs: heads, blob: model.blob };
    case 'vga':
    case 'vmvga':
      return { vgamem_mb: Math.floor(vram / 1024) };
    case 'bochs':
      return { vgamem: vram * 1024 };
    default:
      return {};
  }
}

/** Before QEMU 6.1 3D was a property of the one virtio card; since then it is a device of its own. */
function virglOf(model: VideoModel, { caps }: PlanContext): boolean | undefined {
  return hasProperty(caps, 'virtio-gpu-pci', 'virgl') ? model.acceleration?.accel3d : undefined;
}

function chardevId(video: Video): string {
  return `chr-vu-${video.alias?.name ?? ''}`;
}

/**
 * The drawing process and QEMU talk over a pair of connected sockets: both ask for the one of the same name, and
 * whoever starts them gives each an end.
 */
function planVhostUser(video: Video, context: PlanContext): Part {
  const id = chardevId(video);
  const { accel3d, rendernode } = video.model?.acceleration ?? {};
  const args = ['--fd=3'];
  if (accel3d === true) args.push('--virgl');
  if (rendernode !== undefined) args.push('--render-node', rendernode);
  context.helpers.push({
    name: `${video.alias?.name ?? 'video'}-vhost-user-gpu`,
    command: context.host.helpers['vhost-user-gpu']?.path ?? 'vhost-user-gpu',
    args,
    fds: [{ kind: 'socketpair', name: id }],
  });
  const fd = context.requestFd({ kind: 'socketpair', name: id });
  return { kind: 'chardev', props: { backend: 'socket', id, fd } };
}
