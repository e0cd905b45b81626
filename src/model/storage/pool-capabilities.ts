/** `<storagepoolCapabilities>`: which kinds of pools a host can handle, and their formats. */
import { formatXml } from '../../xml/format.ts';
import { textNode, XmlElement } from '../../xml/node.ts';
import { POOL_TYPE_NAMES, type PoolTypeName, rulesOf } from './pool-types.ts';

/** Writes it as libvirt does. */
export function formatPoolCapabilities(isSupported: (type: PoolTypeName) => boolean): string {
  const root = new XmlElement('storagepoolCapabilities', {
    children: POOL_TYPE_NAMES.map((type) => poolElement(type, isSupported(type))),
  });
  return formatXml(root);
}

function poolElement(type: PoolTypeName, supported: boolean): XmlElement {
  const { formats, volumes } = rulesOf(type);
  const children = [
    ...(formats === undefined ? [] : [options('poolOptions', 'sourceFormatType', formats)]),
    ...(volumes === undefined ? [] : [options('volOptions', 'targetFormatType', volumes)]),
  ];
  const element = withBothTags('pool', children);
  element.setAttribute('type', type);
  element.setAttribute('supported', supported ? 'yes' : 'no');
  return element;
}

function options(
  name: string,
  enumName: string,
  { names, fallback }: { readonly names: readonly string[]; readonly fallback: string },
): XmlElement {
  const defaultFormat = new XmlElement('defaultFormat');
  defaultFormat.setAttribute('type', fallback);
  const values = names.map((value) => new XmlElement('value', { children: [textNode(value)] }));
  const list = withBothTags('enum', values);
  list.setAttribute('name', enumName);
  return new XmlElement(name, { children: [defaultFormat, list] });
}

function withBothTags(name: string, children: XmlElement[]): XmlElement {
  const element = new XmlElement(name, { children });
  element.keepsEndTag = true;
  return element;
}
