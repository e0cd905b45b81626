/** The LXC program: descriptors of a container's namespaces. */
import type { LXC_PROCEDURES } from '../../../protocol/lxc.ts';
import { checkFlags, DONE, group, type Handlers, uuidOf } from '../handler.ts';

export const lxcHandlers: Handlers<typeof LXC_PROCEDURES> = {
  domainOpenNamespace: async (session, { dom, flags }) => {
    checkFlags(flags, 0, 'virDomainLxcOpenNamespace');
    session.pass(await group(session, 'exec').openNamespaces(uuidOf(dom), { signal: session.signal }));
    return DONE;
  },
};
