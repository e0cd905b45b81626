/** `<numatune>`: on which of the host's NUMA nodes the guest's memory lies. */
import { attr, child, children, type Infer, required, struct } from '../schema/schema.ts';
import { cpuset, oneOf, uint } from '../schema/values.ts';

const mode = oneOf('strict', 'preferred', 'interleave', 'restrictive');
export type NumatuneMode = Infer<typeof mode>;

export const numatune = struct(() => ({
  memory: child(struct({ mode: attr(mode), nodeset: attr(cpuset), placement: attr(oneOf('static', 'auto')) })),
  memnodes: children(
    struct({ cellid: required(attr(uint)), mode: attr(mode), nodeset: required(attr(cpuset)) }),
    'memnode',
  ),
}));
export interface Numatune extends Infer<typeof numatune> {}
