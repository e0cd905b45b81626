/** `<nvram>` among the devices: a pSeries guest's NVRAM. UEFI variables are `<os><nvram>`. */
import { type Infer, struct } from '../../schema/schema.ts';
import { deviceInfoFields } from './address.ts';

export const nvram = struct(() => ({ ...deviceInfoFields }));
export interface Nvram extends Infer<typeof nvram> {}
