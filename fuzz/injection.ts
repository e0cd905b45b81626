/**
 * Whether text of a definition can become more than one value for QEMU: the same definition is planned with a harmless and with a
 * hostile text in one place, and the two argument lists must have the same options with the same properties, told apart only by that
 * text. `options.ts` reads the arguments as QEMU does.
 */

import type { DriverContext } from '../src/driver/qemu/context.ts';
import { formatXml } from '../src/xml/format.ts';
import { parseXml } from '../src/xml/parse.ts';
import { type ValueSpot, valuesOf } from './mutations.ts';
import { type ParsedOption, parseArguments } from './options.ts';
import { type Planned, tryPlan } from './pipeline.ts';

/** Harmless in every place that takes any text; `zq` occurs nowhere else. */
export const HARMLESS = 'zqx';

/** Attempts to be more than a value. `zq` marks all that they might create. */
export const ATTACKS: readonly string[] = [
  'zqx,readonly=on',
  'zqx,zqkey=zqvalue',
  ',zqx',
  'zqx,',
  'zqx,,zqy',
  'zqkey=zqvalue',
  '-zqx',
  '--zqx',
  '-device',
  '"zqx',
  "'zqx",
  'zqx\\',
  'zqx","zqkey":"zqvalue',
  '{"zqkey":"zqvalue"}',
  'json:{"zqkey":"zqvalue"}',
  'fd:zqx',
  'zqx zqy',
  'zqx\n-zqoption',
  'zqx\tzqy',
  '$(zqx)',
  '%zqx%s',
  'zqx#zqy',
  'zqx;zqy',
  'zqx:zqy',
  'zqx/zqy',
  '../zqx',
  'zqx\u00e4\u{1f600}',
  '__proto__',
  'constructor',
];

/** The places of a definition that take any text, tried with the harmless one; the user's own arguments are his to choose. */
export function textSpots(xml: string, driver: DriverContext): string[] {
  const names = valuesOf(parseXml(xml).root).map(({ name }, index) => `${index} ${name}`);
  return names.filter(
    (name, index) => !name.includes('/qemu:arg') && tryPlan(withText(xml, index, HARMLESS), driver) !== undefined,
  );
}

/** The definition with another text in the place of that number; a path keeps being one. */
export function withText(xml: string, index: number, text: string): string {
  const { root } = parseXml(xml);
  const spot: ValueSpot | undefined = valuesOf(root)[index];
  spot?.set(spot.get().startsWith('/') ? `/${text}` : text);
  return formatXml(root);
}

/**
 * Plans both and compares. @returns what is wrong, undefined where nothing is, or where the attack was refused
 */
export function injectionFault(xml: string, index: number, attack: string, driver: DriverContext): string | undefined {
  const harmless = tryPlan(withText(xml, index, HARMLESS), driver);
  const hostile = tryPlan(withText(xml, index, attack), driver);
  if (harmless === undefined || hostile === undefined) return undefined;
  return (
    differenceOf(shapeOf(parseArguments(harmless.args)), shapeOf(parseArguments(hostile.args)), attack) ??
    differenceOf(sideShape(harmless), sideShape(hostile), attack)
  );
}

/** Options and the names of their properties; where the harmless text was taken for a name, it is one of the names. */
function shapeOf(options: readonly ParsedOption[]): string[] {
  return options.map(({ option, properties }) => `-${option} ${properties.map(({ key }) => key).join(' ')}`);
}

/**
 * What goes to helpers, to the monitor and into files: how many of each, and how many parts the arguments have that are lists.
 * virtiofsd reads a backslash as the escape, the others have none.
 */
function sideShape({ plan }: Planned): string[] {
  return [
    ...plan.helpers.map(({ name, args }) =>
      [name, ...args.map((word, index) => partsOf(word, args[index - 1] ?? ''))].join(' '),
    ),
    ...plan.deferred.map(({ command, arguments: props = {} }) => `${command} ${Object.keys(props).join(' ')}`),
    ...plan.fds.map(({ kind }) => kind),
    ...plan.files.map(({ kind }) => kind),
  ];
}

/** Arguments of helpers whose value is a list. */
const LISTS = new Set([
  '-o',
  '--tpmstate',
  '--ctrl',
  '--log',
  '--key',
  '--migration-key',
  '--tcp-ports',
  '--udp-ports',
]);

function partsOf(word: string, option: string): number {
  if (!LISTS.has(option)) return 1;
  return (option === '-o' ? word.replace(/\\./g, '') : word).split(',').length;
}

function differenceOf(harmless: readonly string[], hostile: readonly string[], attack: string): string | undefined {
  const changed = hostile.filter((line, index) => line !== harmless[index]?.replaceAll(HARMLESS, attack));
  if (changed.length === 0 && harmless.length === hostile.length) return undefined;
  const expected = harmless.filter((line, index) => line !== hostile[index]);
  return `${JSON.stringify(expected.slice(0, 3))} became ${JSON.stringify(changed.slice(0, 3))}`;
}
