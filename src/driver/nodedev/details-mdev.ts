/** Mediated devices, and the types of them that a parent can make. */
import type { MdevTypesXml } from '../../model/node-device.ts';
import type { Described } from './details.ts';
import type { SysDevice } from './sys-device.ts';

const TYPES = 'mdev_supported_types';

/** Empty where the device can make none. */
export function mdevTypesOf(device: SysDevice): MdevTypesXml[] {
  const types = device.entries(TYPES).map((id) => ({
    id,
    name: device.attribute(`${TYPES}/${id}/name`),
    deviceAPI: device.attribute(`${TYPES}/${id}/device_api`) ?? '',
    availableInstances: device.number(`${TYPES}/${id}/available_instances`) ?? 0,
  }));
  return types.length === 0 ? [] : [{ type: 'mdev_types', types }];
}

/** Named by its UUID and by what it was made from: another boot may make it elsewhere. */
export function describeMdev(device: SysDevice): Described | undefined {
  const id = device.linked('mdev_type');
  const group = device.linked('iommu_group');
  if (id === undefined || group === undefined) return undefined;
  const parent = device.path.split('/').at(-2) ?? '';
  return {
    name: `mdev_${device.name}_${parent}`,
    details: {
      type: 'mdev',
      mdevType: { id },
      uuid: device.name,
      parent_addr: parent,
      iommuGroup: { number: Number(group) },
      attr: [],
    },
  };
}
