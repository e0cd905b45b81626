/** Network filters and their bindings. Numbers, field order and types are libvirt's (remote protocol, version 1). One of the tables of procedures. */
import { array, int, uint } from '../../xdr/codec.ts';
import { Max } from '../limits.ts';
import { call, none } from '../procedure.ts';
import { nwfilter, nwfilterBinding, text, uuid } from '../structs.ts';

export const NWFILTER_PROCEDURES = {
  nwfilterLookupByName: call(175, 'virNWFilterLookupByName', { name: text }, { nwfilter }),
  nwfilterLookupByUuid: call(176, 'virNWFilterLookupByUUID', { uuid }, { nwfilter }),
  nwfilterGetXmlDesc: call(177, 'virNWFilterGetXMLDesc', { nwfilter, flags: uint }, { xml: text }),
  connectNumOfNwfilters: call(178, 'virConnectNumOfNWFilters', none, { num: int }),
  connectListNwfilters: call(
    179,
    'virConnectListNWFilters',
    { maxnames: int },
    { names: array(text, Max.nwfilterList) },
  ),
  nwfilterDefineXml: call(180, 'virNWFilterDefineXML', { xml: text }, { nwfilter }, { writes: true }),
  nwfilterUndefine: call(181, 'virNWFilterUndefine', { nwfilter }, none, { writes: true }),
  connectListAllNwfilters: call(
    286,
    'virConnectListAllNWFilters',
    { needResults: int, flags: uint },
    { filters: array(nwfilter, Max.nwfilterList), ret: uint },
  ),
  nwfilterBindingLookupByPortDev: call(
    397,
    'virNWFilterBindingLookupByPortDev',
    { name: text },
    { nwfilter: nwfilterBinding },
  ),
  nwfilterBindingGetXmlDesc: call(
    398,
    'virNWFilterBindingGetXMLDesc',
    { nwfilter: nwfilterBinding, flags: uint },
    { xml: text },
  ),
  nwfilterBindingCreateXml: call(
    399,
    'virNWFilterBindingCreateXML',
    { xml: text, flags: uint },
    { nwfilter: nwfilterBinding },
    { writes: true },
  ),
  nwfilterBindingDelete: call(400, 'virNWFilterBindingDelete', { nwfilter: nwfilterBinding }, none, { writes: true }),
  connectListAllNwfilterBindings: call(
    401,
    'virConnectListAllNWFilterBindings',
    { needResults: int, flags: uint },
    { bindings: array(nwfilterBinding, Max.nwfilterBindingList), ret: uint },
  ),
  nwfilterDefineXmlFlags: call(
    431,
    'virNWFilterDefineXMLFlags',
    { xml: text, flags: uint },
    { nwfilter },
    { writes: true },
  ),
} as const;
