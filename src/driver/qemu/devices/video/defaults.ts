/** What libvirt fills into video cards: the model that suits the machine, memory sizes, and which one is primary. */

import { devicesOf } from '../../../../model/domain/devices/devices-of.ts';
import type { Video, VideoModel, VideoType } from '../../../../model/domain/devices/video.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { archOf, isVirtBoard } from '../../machine.ts';

const VGA_VRAM_KIB = 16 * 1024;
const XEN_VRAM_KIB = 4 * 1024;
const QXL_VRAM_KIB = 64 * 1024;
const QXL_VGAMEM_KIB = 16 * 1024;

export function fillVideoDefaults(video: Video, context: DomainContext): void {
  const model = (video.model ??= {});
  if (model.type === undefined || model.type === 'default') chooseType(video, model, context);
  placePrimary(context);
  if (model.type === 'none') {
    // It only says that there is none: libvirt keeps nothing of it but the alias.
    video.model = { type: 'none' };
    delete video.driver;
    delete video.address;
    return;
  }
  model.heads ??= 1;
  if (model.heads === 0) delete model.heads;
  fillMemory(model);
}

function chooseType(video: Video, model: VideoModel, context: DomainContext): void {
  const type = defaultType(context);
  if (type === undefined) {
    fault(
      context,
      video,
      `${context.caps.binary} has no video card that could be the default: name one`,
      'model/@type',
    );
    return;
  }
  model.type = type;
}

function defaultType({ domain, caps }: DomainContext): VideoType | undefined {
  const arch = archOf(domain);
  if (arch.startsWith('ppc64')) return 'vga';
  if (isVirtBoard(domain) || arch.startsWith('s390') || arch === 'loongarch64') return 'virtio';
  if (hasDevice(caps, 'cirrus-vga')) return 'cirrus';
  if (hasDevice(caps, 'VGA')) return 'vga';
  return hasDevice(caps, 'virtio-gpu-pci') ? 'virtio' : undefined;
}

/** The primary card comes first, and the first card is primary. */
function placePrimary({ domain }: DomainContext): void {
  const devices = devicesOf(domain);
  const { videos } = devices;
  const primary = videos.find(({ model }) => model?.primary === true) ?? videos[0];
  if (primary === undefined) return;
  const others = videos.filter((video) => video !== primary);
  // A new list: whoever goes through the old one meets every card once.
  devices.videos = [primary, ...others];
  primary.model ??= {};
  if (primary.model.type !== 'none') primary.model.primary = true;
  for (const { model } of others) if (model?.primary === false) delete model.primary;
}

function fillMemory(model: VideoModel): void {
  if (model.type === 'qxl') {
    model.vgamem = nonZero(model.vgamem) ?? QXL_VGAMEM_KIB;
    model.ram = nonZero(model.ram) ?? QXL_VRAM_KIB;
  }
  model.vram = nonZero(model.vram) ?? defaultVramKiB(model.type);
  if (model.ram !== undefined) model.ram = roundUpToPowerOfTwo(model.ram);
  if (model.vram === undefined) delete model.vram;
  else model.vram = roundUpToPowerOfTwo(model.vram);
}

function defaultVramKiB(type: VideoType | undefined): number | undefined {
  switch (type) {
    case 'vga':
    case 'cirrus':
    case 'vmvga':
    case 'bochs':
      return VGA_VRAM_KIB;
    case 'xen':
      return XEN_VRAM_KIB;
    case 'qxl':
      return QXL_VRAM_KIB;
    default:
      return undefined;
  }
}

function nonZero(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

/** The least power of two that is not below the value. */
export function roundUpToPowerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)));
}
