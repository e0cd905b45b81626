/**
 * What changes in QEMU when a definition changes: the parts that are new, to be added in the order in which they are planned, and those
 * that are gone, to be removed the other way round. Plans in, monitor commands out; nothing is sent here.
 */
import { chardevToQapi } from '../plan/chardev-qapi.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import { LIVE_COMMANDS, type Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

export type LivePart = Extract<Part, { kind: keyof typeof LIVE_COMMANDS }>;

export interface MonitorCommand {
  readonly command: string;
  readonly arguments: Props;
}

/** One step, and the one that takes it back. */
export interface LiveStep {
  readonly part: LivePart;
  readonly id: string;
  readonly add: MonitorCommand;
  /** Undefined: QEMU has no way back. */
  readonly remove: MonitorCommand | undefined;
}

/** Steps for the parts of `after` that `before` has not, in order. */
export function addedParts(before: LaunchPlan, after: LaunchPlan): LiveStep[] {
  const known = new Set(before.parts.flatMap((part) => keyOf(part) ?? []));
  return after.parts.flatMap((part) => {
    const key = keyOf(part);
    return key === undefined || known.has(key) || !isLive(part) ? [] : [stepOf(part)];
  });
}

/** Steps for the parts that are gone, in the order in which they are to be removed. */
export function removedParts(before: LaunchPlan, after: LaunchPlan): LiveStep[] {
  return addedParts(after, before).toReversed();
}

/**
 * Ids of parts that both plans have, but meaning another image, net or host end. A new device would then be joined to what belongs to
 * an old one: nothing may be sent.
 */
export function mixedUpParts(before: LaunchPlan, after: LaunchPlan): string[] {
  const meaning = new Map(
    before.parts.flatMap((part): [string, string][] => {
      const key = keyOf(part);
      return key === undefined ? [] : [[key, meaningOf(part)]];
    }),
  );
  return after.parts.flatMap((part) => {
    const key = keyOf(part);
    const old = key === undefined ? undefined : meaning.get(key);
    return key === undefined || old === undefined || old === meaningOf(part) ? [] : [key];
  });
}

/** What a part refers to. Descriptors' numbers are made anew by every plan. */
function meaningOf(part: Part): string {
  if (!isLive(part)) return '';
  const { driver, drive, netdev, chardev, backing } = part.props;
  const [filename, file] = [part.props['filename'], part.props['file']].map((name) => (isInherited(name) ? '' : name));
  return JSON.stringify([driver, drive, netdev, chardev, filename, file, backing]);
}

function isInherited(filename: unknown): boolean {
  return typeof filename === 'string' && /^\/dev\/fd(?:set)?\//.test(filename);
}

function isLive(part: Part): part is LivePart {
  return Object.hasOwn(LIVE_COMMANDS, part.kind);
}

/** The step that adds a part. */
export function stepOf(part: LivePart): LiveStep {
  const named = part.props['id'] ?? part.props['node-name'];
  const id = typeof named === 'string' ? named : '';
  const add = {
    command: LIVE_COMMANDS[part.kind],
    arguments: part.kind === 'chardev' ? chardevToQapi(part.props) : part.props,
  };
  return { part, id, add, remove: removalOf(part, id) };
}

function removalOf({ kind }: LivePart, id: string): MonitorCommand | undefined {
  switch (kind) {
    case 'device':
      return { command: 'device_del', arguments: { id } };
    case 'blockdev':
      return { command: 'blockdev-del', arguments: { 'node-name': id } };
    case 'netdev':
      return { command: 'netdev_del', arguments: { id } };
    case 'chardev':
      return { command: 'chardev-remove', arguments: { id } };
    case 'object':
      return { command: 'object-del', arguments: { id } };
    default:
      return undefined;
  }
}

/** Parts are known by their kind and QEMU's id; those without one cannot be plugged. */
function keyOf(part: Part): string | undefined {
  if (!isLive(part)) return undefined;
  const id = part.props['id'] ?? part.props['node-name'];
  return typeof id === 'string' ? `${part.kind}/${id}` : undefined;
}
