/** Elements of the lxc: namespace: namespaces that a container shares with a process, another container or a named one. */
import { attr, child, type Infer, required, struct } from '../schema/schema.ts';
import { oneOf, text } from '../schema/values.ts';

const share = struct(() => ({ type: required(attr(oneOf('netns', 'pid', 'name'))), value: required(attr(text)) }));
/** `netns`: a file below /run/netns; `pid`: that process's; `name`: that container's. */
export interface SharedNamespace extends Infer<typeof share> {}

export const lxcNamespace = struct(() => ({
  sharenet: child(share, 'lxc:sharenet'),
  shareipc: child(share, 'lxc:shareipc'),
  shareuts: child(share, 'lxc:shareuts'),
}));
export interface LxcNamespace extends Infer<typeof lxcNamespace> {}
