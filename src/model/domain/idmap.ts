/** `<idmap>`: which users and groups of the host those of a container, or of a shared folder, stand for. */
import { attr, children, type Infer, required, struct } from '../schema/schema.ts';
import { uint } from '../schema/values.ts';

/** `start` is the first id inside, `target` the first one on the host. */
const idRange = struct(() => ({
  start: required(attr(uint)),
  target: required(attr(uint)),
  count: required(attr(uint)),
}));
export interface IdRange extends Infer<typeof idRange> {}

export const idmap = struct(() => ({ uids: children(idRange, 'uid'), gids: children(idRange, 'gid') }));
export interface Idmap extends Infer<typeof idmap> {}
