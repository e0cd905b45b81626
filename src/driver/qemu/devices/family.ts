/**
 * The contract of a device family: everything the QEMU driver knows about one kind of device. A family is one
 * folder with a file per facet; `families.ts` lists them all. Nothing else in the driver knows device kinds.
 */

import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { AddressNeed } from '../addresses/need.ts';
import type { DomainContext, PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';

export interface DeviceFamily<D extends DeviceInfo> {
  /** Element name: `disk`, `interface`. */
  readonly name: string;
  /** The family's devices in definition order. */
  select(domain: Domain): readonly D[];
  /** Fills in what libvirt fills in for one device after parsing (before addresses). */
  fillDefaults?(device: D, context: DomainContext): void;
  /** Reports what QEMU, or libvirt for QEMU, does not accept. Runs on the completed definition. */
  validate?(device: D, context: DomainContext): void;
  /** What guest address it needs; undefined: none is assigned. */
  addressNeed?(device: D, context: DomainContext): AddressNeed | undefined;
  /** libvirt's alias (`virtio-disk0`, `net1`); `index` counts within the family. */
  alias(device: D, index: number, context: DomainContext): string;
  /** The device's parts, in the order in which QEMU must meet them. The alias and address are set. */
  plan(device: D, context: PlanContext): Part[];
}

/** Typed identity: lets a family be declared with its device type inferred. */
export function deviceFamily<D extends DeviceInfo>(family: DeviceFamily<D>): DeviceFamily<D> {
  return family;
}
