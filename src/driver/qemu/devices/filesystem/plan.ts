/** A `<filesystem>` as QEMU parts. */
import type { Filesystem } from '../../../../model/domain/devices/filesystem.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { planVirtiofsd } from './virtiofsd.ts';

export function planFilesystem(filesystem: Filesystem, context: PlanContext): Part[] {
  return filesystem.driver?.type === 'virtiofs' ? planVirtiofs(filesystem, context) : plan9p(filesystem, context);
}

/** QEMU's names of the access modes. */
const SECURITY_MODELS = { passthrough: 'passthrough', mapped: 'mapped', squash: 'none' } as const;

function plan9p(filesystem: Filesystem, context: PlanContext): Part[] {
  const { accessmode = 'passthrough', driver, model, source, target } = filesystem;
  const alias = filesystem.alias?.name ?? '';
  const id = `fsdev-${alias}`;
  return [
    {
      kind: 'keyval',
      option: 'fsdev',
      implied: 'fsdriver',
      props: {
        fsdriver: 'local',
        security_model: SECURITY_MODELS[accessmode],
        multidevs: filesystem.multidevs,
        fmode: octal(filesystem.fmode),
        dmode: octal(filesystem.dmode),
        writeout: driver?.wrpolicy,
        id,
        path: source?.dir,
        readonly: filesystem.readonly === true ? true : undefined,
      },
    },
    {
      kind: 'device',
      props: {
        driver: virtioDeviceName('virtio-9p', filesystem, model),
        ...virtioOptionProps(driver),
        id: alias,
        fsdev: id,
        mount_tag: target?.dir,
        ...addressProps(filesystem, context),
      },
    },
  ];
}

function planVirtiofs(filesystem: Filesystem, context: PlanContext): Part[] {
  const { driver, source, target } = filesystem;
  const alias = filesystem.alias?.name ?? '';
  const chardev = `chr-vu-${alias}`;
  const path = source?.socket ?? planVirtiofsd(filesystem, context);
  return [
    { kind: 'chardev', props: { backend: 'socket', id: chardev, path } },
    {
      kind: 'device',
      props: {
        driver: virtioDeviceName('vhost-user-fs', filesystem),
        ...virtioOptionProps(driver),
        id: alias,
        chardev,
        'queue-size': driver?.queue,
        tag: target?.dir,
        bootindex: bootIndexOf(filesystem, context),
        ...addressProps(filesystem, context),
      },
    },
  ];
}

function octal(mode: number | undefined): string | undefined {
  return mode?.toString(8).padStart(4, '0');
}
