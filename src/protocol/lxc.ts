/** The LXC program: descriptors of a container's namespaces. */
import { uint } from '../xdr/codec.ts';
import { call, none } from './procedure.ts';
import { domain } from './structs.ts';

export const LXC_PROCEDURES = {
  domainOpenNamespace: call(1, 'virDomainLxcOpenNamespace', { dom: domain, flags: uint }, none, {
    writes: true,
    descriptors: true,
  }),
} as const;
