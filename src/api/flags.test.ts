import { expect, it } from 'vitest';
import { DomainState } from '../driver/domain-state.ts';
import { filterOfFlags, ListDomainsFlag, XmlFlag, xmlOptionsOfFlags } from './flags.ts';

it('reads list flags by groups', () => {
  expect(filterOfFlags(0)).toEqual({ active: undefined, persistent: undefined, autostart: undefined });
  expect(filterOfFlags(ListDomainsFlag.ACTIVE | ListDomainsFlag.TRANSIENT)).toMatchObject({
    active: true,
    persistent: false,
  });
  expect(filterOfFlags(ListDomainsFlag.ACTIVE | ListDomainsFlag.INACTIVE)).toMatchObject({ active: undefined });
  expect(filterOfFlags(ListDomainsFlag.PAUSED | ListDomainsFlag.OTHER).states).toEqual([
    DomainState.PAUSED,
    DomainState.NOSTATE,
    DomainState.BLOCKED,
    DomainState.SHUTDOWN,
    DomainState.CRASHED,
    DomainState.PMSUSPENDED,
  ]);
});

it('reads XML flags', () => {
  expect(xmlOptionsOfFlags(XmlFlag.INACTIVE)).toEqual({ secure: false, inactive: true });
});
