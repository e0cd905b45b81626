/** A SCSI unit of the host, or of an iSCSI target, as a block node and a `scsi-generic` device. */
import type { Hostdev } from '../../../../model/domain/devices/hostdev.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { controllerAlias } from '../../addresses/props.ts';
import { type PlanContext, refuse } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { highestNodeIndex } from '../blockdev/node-index.ts';
import { planSecret } from '../secret.ts';

const ISCSI_PORT = '3260';

export function planScsiHostdev(device: Hostdev, context: PlanContext): Part[] {
  const node = nodeName(device, context.domain);
  const parts: Part[] = [];
  const image =
    device.source.protocol === 'iscsi' ? planIscsi(device, node, context, parts) : localProps(device, context);
  parts.push({ kind: 'blockdev', props: { ...image, 'node-name': node, 'read-only': device.readonly === true } });
  const props = {
    driver: 'scsi-generic',
    'share-rw': device.shareable === true ? true : undefined,
    drive: node,
    id: device.alias?.name,
    bootindex: bootIndexOf(device, context),
    ...scsiAddressProps(device, context.domain),
  };
  parts.push({ kind: 'device', props });
  return parts;
}

/** Model of the SCSI controller that a device sits on. */
export function scsiControllerModel(device: Hostdev, domain: Domain): string | undefined {
  const index = device.address?.type === 'drive' ? (device.address.controller ?? 0) : 0;
  const controllers = domain.devices?.controllers ?? [];
  return controllers.find(({ type, index: number }) => type === 'scsi' && (number ?? 0) === index)?.model;
}

/** Host devices count on from the disks' nodes. */
function nodeName(device: Hostdev, domain: Domain): string {
  const units = (domain.devices?.hostdevs ?? []).filter(({ type }) => type === 'scsi');
  return `libvirt-${highestNodeIndex(domain) + 1 + units.indexOf(device)}-backend`;
}

function localProps({ source }: Hostdev, context: PlanContext): Props {
  const adapter = source.adapter?.name ?? '';
  const { bus = 0, target = 0, unit = 0n } = source.address ?? {};
  const name = context.lookup.scsiGeneric?.(adapter, bus, target, unit);
  if (name === undefined) {
    refuse(
      `finding SCSI unit ${bus}:${target}:${unit} of adapter '${adapter}': the host has no such device (lsscsi -g)`,
    );
  }
  return { driver: 'host_device', filename: `/dev/${name}` };
}

function planIscsi({ source }: Hostdev, node: string, context: PlanContext, parts: Part[]): Props {
  const [target, lun] = (source.name ?? '').split('/');
  const host = source.hosts[0];
  const name = host?.name ?? '';
  let secret: string | undefined;
  if (source.auth !== undefined) {
    secret = `${node}-secret0`;
    parts.push(planSecret(context, secret, source.auth.secret));
  }
  return {
    driver: 'iscsi',
    portal: `${name.includes(':') ? `[${name}]` : name}:${host?.port ?? ISCSI_PORT}`,
    target,
    lun: Number(lun ?? 0),
    transport: 'tcp',
    user: source.auth?.username,
    'password-secret': secret,
    'initiator-name': source.initiator?.iqn?.name,
  };
}

function scsiAddressProps(device: Hostdev, domain: Domain): Props {
  if (device.address?.type !== 'drive') return {};
  const { controller = 0, bus = 0, target = 0, unit = 0 } = device.address;
  const name = controllerAlias(domain, 'scsi', controller);
  // The LSI chip has targets only, which libvirt writes as units.
  if (scsiControllerModel(device, domain) === 'lsilogic') return { bus: `${name}.${bus}`, 'scsi-id': unit };
  return { bus: `${name}.0`, channel: bus, 'scsi-id': target, lun: unit };
}
