/**
 * SELinux contexts as text: `user:role:type:range`, and the pairs of categories that keep guests apart. Pure; the policy is not asked.
 */
import { SecurityError } from './label-plan.ts';

export interface SelinuxContext {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  /** `s0`, `s0:c107,c392`, `s0-s0:c0.c1023`; undefined where the policy has no levels. */
  readonly range?: string | undefined;
}

/** What a guest's pair may be made of. */
export interface CategoryRange {
  /** `s0` */
  readonly sensitivity: string;
  readonly lowest: number;
  readonly highest: number;
}

/** Fewer would make pairs that are easily used up (libvirt's bound). */
const FEWEST_CATEGORIES = 8;
const ALL_CATEGORIES = { lowest: 0, highest: 1023 };

/** @throws SecurityError for what is not a context */
export function parseContext(text: string): SelinuxContext {
  const [user = '', role = '', type = '', ...range] = text.trim().split(':');
  if ([user, role, type].some((part) => !/^[\w.-]+$/.test(part)) || range.some((part) => part === '')) {
    throw new SecurityError(`'${text}' is no SELinux context: USER:ROLE:TYPE or USER:ROLE:TYPE:RANGE`, {
      model: 'selinux',
    });
  }
  return { user, role, type, ...(range.length > 0 && { range: range.join(':') }) };
}

export function formatContext({ user, role, type, range }: SelinuxContext): string {
  return [user, role, type, ...(range === undefined ? [] : [range])].join(':');
}

/**
 * The categories that the caller may give away, from its own range: `s0-s0:c0.c1023`. Without any: all.
 * @throws SecurityError when there are too few for unique pairs
 */
export function categoryRange(ownContext: string): CategoryRange {
  const range = parseContext(ownContext).range ?? 's0';
  const sensitivity = /^[^:-]+/.exec(range)?.[0] ?? 's0';
  const high = range.slice(range.indexOf('-') + 1);
  const found = /:c(\d+)(?:\.c(\d+))?$/.exec(high);
  if (found === null) return { sensitivity, ...ALL_CATEGORIES };
  const lowest = Number(found[1]);
  const highest = Number(found[2] ?? found[1]);
  if (highest - lowest < FEWEST_CATEGORIES) {
    throw new SecurityError(
      `this process may use the categories c${lowest} to c${highest} only, too few to keep guests apart; run it with a range like s0-s0:c0.c1023 (runcon -l)`,
      { model: 'selinux' },
    );
  }
  return { sensitivity, lowest, highest };
}

/**
 * Two different categories, ordered, as a level: `s0:c107,c392`. Never one alone: a process may read what has a subset of its categories.
 * `random` gives a whole number below its argument.
 */
export function pickLevel({ sensitivity, lowest, highest }: CategoryRange, random: (below: number) => number): string {
  const count = highest - lowest + 1;
  const first = random(count);
  // Skips the first, so that the two differ without another try.
  const other = (first + 1 + random(count - 1)) % count;
  return `${sensitivity}:c${lowest + Math.min(first, other)},c${lowest + Math.max(first, other)}`;
}
