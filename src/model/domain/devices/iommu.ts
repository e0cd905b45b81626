/** `<iommu>`. */
import { type Infer, struct } from '../../schema/schema.ts';

export const iommu = struct({});
export interface Iommu extends Infer<typeof iommu> {}
