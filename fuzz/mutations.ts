/**
 * Damages definitions: fast-check chooses the edits, this applies them to the XML tree. Spots are numbers taken modulo what there
 * is, so every edit fits every definition. What must hold afterwards is in `pipeline.ts`.
 */
import fc from 'fast-check';
import { formatXml } from '../src/xml/format.ts';
import { textNode, XmlElement, type XmlNode } from '../src/xml/node.ts';
import { parseXml } from '../src/xml/parse.ts';
import type { Seed } from './corpus.ts';

/** Values that people, other programs and attackers write where something else is meant. */
export const HOSTILE_VALUES: readonly string[] = [
  '',
  ' ',
  '0',
  '-0',
  '-1',
  '+5',
  '1',
  '2',
  '7',
  '31',
  '32',
  '255',
  '256',
  '65535',
  '65536',
  '99999',
  '2147483648',
  '4294967295',
  '4294967296',
  '9007199254740992',
  '9223372036854775808',
  '18446744073709551615',
  '18446744073709551616',
  `1${'0'.repeat(400)}`,
  '0x',
  '0x10',
  '-0x10',
  '+0x10',
  '0xffffffffffffffff',
  '1e3',
  '1.5',
  'NaN',
  'Infinity',
  'undefined',
  'null',
  'true',
  'yes',
  'no',
  'on',
  'off',
  'none',
  'default',
  'auto',
  'EiB',
  'bytes',
  'KiB',
  '0-3,^2',
  '0-16383',
  '^0',
  '3-1',
  ',',
  ',,',
  '=',
  '-',
  '--',
  '-device',
  '-S',
  '/',
  '//',
  '.',
  '..',
  '../../etc/passwd',
  '/dev/null',
  'json:{"driver":"file","filename":"/etc/passwd"}',
  'fd:3',
  'fdset:1',
  'a,readonly=on',
  'a=b',
  'a,b=c,d',
  "it's",
  '"',
  '\\',
  '`id`',
  '$(id)',
  '%s%n',
  'a\nb',
  'a\tb',
  'a\r\nb',
  '\u00a0',
  'ü',
  '漢字',
  '\u{1f600}',
  '\u202e',
  '\ufeff',
  'x'.repeat(300),
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'length',
  '00:00:00:00:00:00',
  'ff:ff:ff:ff:ff:ff',
  '52:54:00:11:22:33',
  '::1',
  '[::1]',
  '0.0.0.0',
  '256.1.1.1',
  'localhost:1',
  '00000000-0000-0000-0000-000000000000',
  'pci',
  'usb',
  'drive',
  'virtio',
  'virtio-mmio',
  'dimm',
  'isa',
  'ccw',
  'spapr-vio',
  'unassigned',
  'scsi',
  'ide',
  'sata',
  'fdc',
  'sd',
  'nvme',
  'xen',
  'kvm',
  'qemu',
  'lxc',
  'hvf',
  'vda',
  'vdaaaaaaaaaa',
  'sda',
  'hda',
  'hdz',
  'fda',
  'fdz',
  'sdzzz',
  'nvme0n1',
  'pc',
  'q35',
  'virt',
  'microvm',
  'isapc',
  'none',
  'x86_64',
  'i686',
  'aarch64',
  's390x',
  'ppc64',
  'host-passthrough',
  'host-model',
  'maximum',
  'custom',
  'file',
  'block',
  'network',
  'volume',
  'dir',
  'vhostuser',
  'vhostvdpa',
  'unix',
  'tcp',
  'udp',
  'pty',
  'stdio',
  'spicevmc',
];

/** One edit; `at` and `from` choose spots. */
export type Edit =
  | { readonly kind: 'set' | 'add'; readonly at: number; readonly from: number; readonly value: string }
  | {
      readonly kind: 'remove' | 'double' | 'copy' | 'swap' | 'rename' | 'nest';
      readonly at: number;
      readonly from: number;
    };

const spot = fc.nat(100_000);
const value = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...HOSTILE_VALUES) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  { weight: 1, arbitrary: fc.integer({ min: -5, max: 300 }).map(String) },
  { weight: 1, arbitrary: fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String) },
);

const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('set' as const), at: spot, from: spot, value }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('add' as const), at: spot, from: spot, value }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('remove', 'double', 'copy', 'swap', 'rename', 'nest'),
      at: spot,
      from: spot,
    }),
  },
);

/** A damaged definition: which seed, which other seed parts are copied from, and the edits. */
export interface Damage {
  readonly seed: number;
  readonly donor: number;
  readonly edits: readonly Edit[];
}

/** @param maxEdits a few: with many, parsing refuses everything and the planner is never reached */
export function damage(seeds: readonly Seed[], maxEdits = 4): fc.Arbitrary<Damage> {
  const index = fc.nat(seeds.length - 1);
  return fc.record({ seed: index, donor: index, edits: fc.array(edit, { minLength: 1, maxLength: maxEdits }) });
}

/** The damaged definition as text. Characters that XML cannot hold are gone: parsing them is the XML reader's own test. */
export function damagedXml({ seed, donor, edits }: Damage, seeds: readonly Seed[]): string {
  const root = parseXml(seeds[seed]?.xml ?? '<domain/>').root;
  const source = parseXml(seeds[donor]?.xml ?? '<domain/>').root;
  for (const one of edits) applyEdit(one, root, source);
  return formatXml(root);
}

/** An element with the one that holds it. */
interface Place {
  readonly parent: XmlElement;
  readonly element: XmlElement;
}

function placesOf(parent: XmlElement): Place[] {
  return parent.elements().flatMap((element) => [{ parent, element }, ...placesOf(element)]);
}

function pick<T>(list: readonly T[], at: number): T | undefined {
  return list[at % Math.max(1, list.length)];
}

function applyEdit(one: Edit, root: XmlElement, source: XmlElement): void {
  const place = pick(placesOf(root), one.at);
  if (place === undefined) return;
  const { parent, element } = place;
  switch (one.kind) {
    case 'set':
      setSomewhere(root, one.at, one.value);
      break;
    case 'add':
      element.setAttribute(pick(placesOf(source), one.from)?.element.attributes[0]?.name ?? 'type', one.value);
      break;
    case 'remove':
      removeSomething(place, one.from);
      break;
    case 'double':
      for (let count = 0; count <= one.from % 3; count++) parent.children.push(copyOf(element));
      break;
    case 'copy': {
      const other = pick(placesOf(source), one.from);
      if (other !== undefined) homeOf(root, source, other.parent).children.push(copyOf(other.element));
      break;
    }
    case 'swap':
      swapValues(root, one.at, one.from);
      break;
    case 'rename':
      replace(parent, element, pick(placesOf(root), one.from)?.element.name ?? element.name);
      break;
    case 'nest':
      element.children.push(copyOf(element));
      break;
  }
}

/** A writable value: an attribute, or the text of an element without others in it. */
export interface ValueSpot {
  readonly name: string;
  readonly get: () => string;
  readonly set: (value: string) => void;
}

/** All values of a definition, the root's own attributes included. */
export function valuesOf(element: XmlElement, path = element.name): ValueSpot[] {
  const spots: ValueSpot[] = element.attributes
    .filter(({ name }) => !name.startsWith('xmlns'))
    .map((attribute) => ({
      name: `${path}/@${attribute.name}`,
      get: () => attribute.value,
      set: (text) => {
        attribute.value = text;
      },
    }));
  const below = element.elements();
  if (below.length === 0 && element.text !== '') {
    spots.push({
      name: path,
      get: () => element.text,
      set: (text) => {
        element.children.splice(0, element.children.length, textNode(text));
      },
    });
  }
  return [...spots, ...below.flatMap((child) => valuesOf(child, `${path}/${child.name}`))];
}

function setSomewhere(root: XmlElement, at: number, text: string): void {
  pick(valuesOf(root), at)?.set(text);
}

function swapValues(root: XmlElement, at: number, from: number): void {
  const spots = valuesOf(root);
  const [a, b] = [pick(spots, at), pick(spots, from)];
  if (a === undefined || b === undefined) return;
  const kept = a.get();
  a.set(b.get());
  b.set(kept);
}

function removeSomething({ parent, element }: Place, from: number): void {
  if (element.attributes.length > 0 && from % 2 === 0) element.attributes.splice(from % element.attributes.length, 1);
  else parent.children.splice(parent.children.indexOf(element), 1);
}

/** Where a part of another definition belongs: the element of the same name as the one that held it there. */
function homeOf(root: XmlElement, source: XmlElement, holder: XmlElement): XmlElement {
  if (holder === source) return root;
  return placesOf(root).find(({ element }) => element.name === holder.name)?.element ?? root;
}

function replace(parent: XmlElement, element: XmlElement, name: string): void {
  const { uri, attributes, children } = element;
  parent.children[parent.children.indexOf(element)] = new XmlElement(name, { uri, attributes, children });
}

function copyOf(element: XmlElement): XmlElement {
  const { name, uri } = element;
  const children = element.children.map((child: XmlNode) => (child.kind === 'element' ? copyOf(child) : child));
  return new XmlElement(name, { uri, attributes: element.attributes.map((attribute) => ({ ...attribute })), children });
}
