/** libvirt's numeric flags, for programs that are used to them. Every call takes the named options as well. */
import { DomainState } from '../driver/domain-state.ts';
import type { DomainFilter, XmlOptions } from '../driver/driver.ts';

/** virConnectListAllDomainsFlags. Flags of one group are alternatives; groups must all match. */
export const ListDomainsFlag = {
  ACTIVE: 1,
  INACTIVE: 2,
  PERSISTENT: 4,
  TRANSIENT: 8,
  RUNNING: 16,
  PAUSED: 32,
  SHUTOFF: 64,
  OTHER: 128,
  AUTOSTART: 1024,
  NO_AUTOSTART: 2048,
  MANAGEDSAVE: 256,
  NO_MANAGEDSAVE: 512,
} as const;

/** virDomainXMLFlags that have a meaning here. */
export const XmlFlag = { SECURE: 1, INACTIVE: 2 } as const;

/** The filter that a flags value stands for. */
export function filterOfFlags(flags: number): DomainFilter {
  const either = (yes: number, no: number): boolean | undefined => {
    const wanted = flags & (yes | no);
    return wanted === yes ? true : wanted === no ? false : undefined;
  };
  const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT, AUTOSTART, NO_AUTOSTART, MANAGEDSAVE, NO_MANAGEDSAVE } =
    ListDomainsFlag;
  const managedSave = either(MANAGEDSAVE, NO_MANAGEDSAVE);
  const states = statesOfFlags(flags);
  const filter = {
    active: either(ACTIVE, INACTIVE),
    persistent: either(PERSISTENT, TRANSIENT),
    autostart: either(AUTOSTART, NO_AUTOSTART),
    ...(managedSave === undefined ? {} : { managedSave }),
  };
  return states.length === 0 ? filter : { ...filter, states };
}

/** The XML options that a flags value stands for. */
export function xmlOptionsOfFlags(flags: number): XmlOptions {
  return { secure: (flags & XmlFlag.SECURE) !== 0, inactive: (flags & XmlFlag.INACTIVE) !== 0 };
}

/** The flags that a filter stands for. */
export function filterToFlags(filter: DomainFilter): number {
  const either = (value: boolean | undefined, yes: number, no: number): number =>
    value === undefined ? 0 : value ? yes : no;
  const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT, AUTOSTART, NO_AUTOSTART, MANAGEDSAVE, NO_MANAGEDSAVE } =
    ListDomainsFlag;
  return (
    either(filter.active, ACTIVE, INACTIVE) |
    either(filter.persistent, PERSISTENT, TRANSIENT) |
    either(filter.autostart, AUTOSTART, NO_AUTOSTART) |
    either(filter.managedSave, MANAGEDSAVE, NO_MANAGEDSAVE) |
    (filter.states ?? []).reduce<number>((flags, state) => flags | flagOfState(state), 0)
  );
}

/** States without a flag of their own share one. */
function flagOfState(state: DomainState): number {
  const { RUNNING, PAUSED, SHUTOFF, OTHER } = ListDomainsFlag;
  if (state === DomainState.RUNNING) return RUNNING;
  if (state === DomainState.PAUSED) return PAUSED;
  return state === DomainState.SHUTOFF ? SHUTOFF : OTHER;
}

function statesOfFlags(flags: number): DomainState[] {
  const { RUNNING, PAUSED, SHUTOFF, OTHER } = ListDomainsFlag;
  const named: readonly DomainState[] = [DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTOFF];
  return [
    ...((flags & RUNNING) === 0 ? [] : [DomainState.RUNNING]),
    ...((flags & PAUSED) === 0 ? [] : [DomainState.PAUSED]),
    ...((flags & SHUTOFF) === 0 ? [] : [DomainState.SHUTOFF]),
    ...((flags & OTHER) === 0 ? [] : Object.values(DomainState).filter((state) => !named.includes(state))),
  ];
}
