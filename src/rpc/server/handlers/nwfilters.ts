/** Procedures about network filters: there are none here, which is what clients are told. Filters cannot be defined. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { NWFILTER_PROCEDURES } from '../../../protocol/remote/nwfilter.ts';
import { uuidFromWire } from '../../convert.ts';
import { checkFlags, type Handlers } from '../handler.ts';

export const nwfilterHandlers: Handlers<typeof NWFILTER_PROCEDURES> = {
  connectNumOfNwfilters: () => ({ num: 0 }),
  connectListNwfilters: () => ({ names: [] }),
  connectListAllNwfilters: (_, { flags }) => {
    checkFlags(flags, 0, 'virConnectListAllNWFilters');
    return { filters: [], ret: 0 };
  },
  connectListAllNwfilterBindings: (_, { flags }) => {
    checkFlags(flags, 0, 'virConnectListAllNWFilterBindings');
    return { bindings: [], ret: 0 };
  },
  nwfilterLookupByName: (_, { name }) => {
    throw noFilter(`no nwfilter with matching name '${name}'`);
  },
  nwfilterLookupByUuid: (_, { uuid }) => {
    throw noFilter(`no nwfilter with matching uuid '${uuidFromWire(uuid)}'`);
  },
  nwfilterGetXmlDesc: (_, { nwfilter }) => {
    throw noFilter(`no nwfilter with matching name '${nwfilter.name}'`);
  },
  nwfilterUndefine: (_, { nwfilter }) => {
    throw noFilter(`no nwfilter with matching name '${nwfilter.name}'`);
  },
  nwfilterBindingLookupByPortDev: (_, { name }) => {
    throw noBinding(name);
  },
  nwfilterBindingGetXmlDesc: (_, { nwfilter }) => {
    throw noBinding(nwfilter.portdev);
  },
  nwfilterBindingDelete: (_, { nwfilter }) => {
    throw noBinding(nwfilter.portdev);
  },
};

function noFilter(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.NO_NWFILTER, domain: ErrorDomain.NWFILTER });
}

function noBinding(port: string): VirtError {
  return new VirtError(`no nwfilter binding for port dev '${port}'`, {
    code: ErrorCode.NO_NWFILTER_BINDING,
    domain: ErrorDomain.NWFILTER,
  });
}
