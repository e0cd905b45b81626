/** What libvirt and QEMU refuse of video cards. */
import type { Video, VideoModel } from '../../../../model/domain/devices/video.ts';
import { hasDevice, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { roundUpToPowerOfTwo } from './defaults.ts';
import { hasVideoModel } from './names.ts';

const MIB_IN_KIB = 1024;
/** QEMU takes sizes in bytes as 32-bit numbers. */
const MAX_KIB = Math.floor(0xffff_ffff / 1024);

export function validateVideo(video: Video, context: DomainContext): void {
  const { model } = video;
  const videos = context.domain.devices?.videos ?? [];
  if (model?.type === undefined) return;
  if (videos[0] === video) validateTogether(videos, context);
  if (model.type === 'none') return;
  if (!hasVideoModel(model.type, context.caps)) {
    fault(context, video, `${context.caps.binary} has no video model '${model.type}': choose another`, 'model/@type');
    return;
  }
  validatePlace(video, model, context);
  validateMemory(video, model, context);
  validateAcceleration(video, model, context);
  validateDriver(video, model, context);
}

/** What cards of one guest must not be beside each other. */
function validateTogether(videos: readonly Video[], context: DomainContext): void {
  const none = videos.find(({ model }) => model?.type === 'none');
  if (none !== undefined && videos.length > 1) {
    fault(context, none, "video model 'none' says that there is no card: remove it or the others", 'model/@type');
  }
  const second = videos.filter(({ model }) => model?.primary === true)[1];
  if (second !== undefined) fault(context, second, 'only one video card can be the primary one', 'model/@primary');
}

function validatePlace(video: Video, model: VideoModel, context: DomainContext): void {
  const { type } = model;
  if (model.primary !== true && type !== 'qxl' && type !== 'virtio') {
    fault(context, video, `model '${type}' can only be the primary card: use qxl or virtio for more`, 'model/@type');
  }
  if ((model.heads ?? 1) > 1 && type !== 'qxl' && type !== 'virtio') {
    fault(context, video, `model '${type}' has one head: use qxl or virtio for more`, 'model/@heads');
  }
  if (type === 'ramfb' && video.address !== undefined) {
    fault(context, video, "model 'ramfb' sits on no bus: remove its address", 'address');
  }
  const { resolution } = model;
  if (resolution === undefined) return;
  if (resolution.x === 0 || resolution.y === 0) {
    fault(context, video, 'a resolution of 0 is none: give both x and y, or leave it out', 'model/resolution');
  }
  if (type !== 'vga' && type !== 'qxl' && type !== 'virtio' && type !== 'bochs') {
    fault(context, video, `model '${type}' takes no resolution: remove it`, 'model/resolution');
  }
}

function validateMemory(video: Video, model: VideoModel, context: DomainContext): void {
  const { type } = model;
  for (const key of ['ram', 'vram64', 'vgamem'] as const) {
    if (model[key] !== undefined && type !== 'qxl')
      fault(context, video, `${key} goes with model 'qxl' only`, `model/@${key}`);
  }
  if ((type === 'vga' || type === 'vmvga') && (model.vram ?? MIB_IN_KIB) < MIB_IN_KIB) {
    fault(context, video, 'vram must be at least 1024 (KiB)', 'model/@vram');
  }
  if (type !== 'qxl') return;
  for (const key of ['ram', 'vram'] as const) {
    if ((model[key] ?? 0) > MAX_KIB)
      fault(context, video, `${key} must be below ${MAX_KIB + 1} (KiB)`, `model/@${key}`);
  }
  const vgamem = model.vgamem ?? MIB_IN_KIB;
  if (vgamem < MIB_IN_KIB) fault(context, video, 'vgamem must be at least 1024 (KiB)', 'model/@vgamem');
  else if (vgamem !== roundUpToPowerOfTwo(vgamem)) {
    fault(context, video, 'vgamem must be a power of two (KiB)', 'model/@vgamem');
  }
}

function validateAcceleration(video: Video, model: VideoModel, context: DomainContext): void {
  const { acceleration, type } = model;
  if (acceleration === undefined) return;
  const { accel2d, accel3d, rendernode } = acceleration;
  const refuse = (message: string, field: string) => fault(context, video, message, `model/acceleration${field}`);
  if (accel2d === undefined && accel3d === undefined && rendernode === undefined) {
    refuse('say what to accelerate: accel3d, or remove the element', '');
  }
  if (accel2d === true) refuse('QEMU has no 2D acceleration: remove accel2d', '/@accel2d');
  if (video.driver?.name === 'vhostuser') return;
  if (rendernode !== undefined) refuse("a render node goes with driver name='vhostuser' only", '/@rendernode');
  if (accel3d !== true) return;
  if (type !== 'virtio') refuse("3D acceleration goes with model 'virtio' only", '/@accel3d');
  else if (!hasVirgl(context)) refuse(`${context.caps.binary} has no virtio card with 3D acceleration`, '/@accel3d');
}

function hasVirgl({ caps }: DomainContext): boolean {
  return (
    ['virtio-vga-gl', 'virtio-gpu-gl-pci', 'virtio-gpu-gl-device'].some((name) => hasDevice(caps, name)) ||
    hasProperty(caps, 'virtio-gpu-pci', 'virgl') ||
    hasProperty(caps, 'virtio-gpu-device', 'virgl')
  );
}

function validateDriver(video: Video, model: VideoModel, context: DomainContext): void {
  const { caps } = context;
  if (video.driver?.name === 'vhostuser') {
    if (model.type !== 'virtio') {
      fault(context, video, "driver name='vhostuser' goes with model 'virtio' only", 'driver/@name');
    } else if (!hasDevice(caps, 'vhost-user-gpu') && !hasDevice(caps, 'vhost-user-gpu-pci')) {
      fault(context, video, `${caps.binary} has no vhost-user video card: use driver name='qemu'`, 'driver/@name');
    }
  }
  for (const name of ['iommu', 'ats', 'packed', 'pagePerVq'] as const) {
    if (model.type === 'virtio' || video.driver?.[name] === undefined) continue;
    fault(context, video, `the options of virtio devices go with model 'virtio', not '${model.type}'`, 'driver');
  }
  if (model.blob === undefined || model.type !== 'virtio') return;
  if (!hasProperty(caps, 'virtio-gpu-pci', 'blob') && !hasProperty(caps, 'virtio-gpu-device', 'blob')) {
    fault(context, video, `${caps.binary} has no blob resources: remove blob`, 'model/@blob');
  }
}
