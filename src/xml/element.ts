/** Short ways to make the elements that capability documents consist of. What goes into them is decided elsewhere. */
import { textNode, XmlElement } from './node.ts';

type Attributes = Readonly<Record<string, string | number | undefined>>;
export type Content = XmlElement | string | number | undefined;

/** An element; attributes and children that are undefined are left out. */
export function element(name: string, attributes: Attributes = {}, ...children: readonly Content[]): XmlElement {
  const made = new XmlElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, String(value));
  }
  for (const child of children) {
    if (child === undefined) continue;
    made.children.push(child instanceof XmlElement ? child : textNode(String(child)));
  }
  return made;
}

/** `<enum name='…'><value>…</value></enum>` with the values whose condition is true. */
export function enumeration(name: string, values: readonly string[]): XmlElement {
  return element('enum', { name }, ...values.map((value) => element('value', {}, value)));
}

/** `<name supported='yes'>…</name>`; what is not supported has no content. */
export function supported(name: string, isSupported: boolean, ...children: readonly Content[]): XmlElement {
  return element(name, { supported: isSupported ? 'yes' : 'no' }, ...(isSupported ? children : []));
}

/** The keys whose value is true, in their order: `{ a: true, b: false }` → a. */
export function chosen(choices: Readonly<Record<string, boolean>>): string[] {
  return Object.keys(choices).filter((key) => choices[key] === true);
}

/** 0, 1, 2, 5 → `0-2,5`: the kernel's list format, as libvirt writes it. */
export function formatCpuList(cpus: readonly number[]): string {
  const parts: string[] = [];
  const sorted = cpus.toSorted((a, b) => a - b);
  for (let index = 0; index < sorted.length; ) {
    let last = index;
    while (sorted[last + 1] === (sorted[last] ?? 0) + 1) last += 1;
    parts.push(last === index ? `${sorted[index]}` : `${sorted[index]}-${sorted[last]}`);
    index = last + 1;
  }
  return parts.join(',');
}
