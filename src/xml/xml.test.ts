import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatXml } from './format.ts';
import { textNode, XmlElement } from './node.ts';
import { parseXml, XmlSyntaxError } from './parse.ts';

const reparse = (text: string) => formatXml(parseXml(text).root);

describe('parseXml', () => {
  it('keeps order, comments, text and positions', () => {
    const { root } = parseXml("<domain type='kvm'>\n  <!-- hi -->\n  <name\n a='1'>x &amp; y</name>\n</domain>");
    expect(root.attribute('type')).toBe('kvm');
    expect(root.attributes[0]).toMatchObject({ line: 1, column: 9 });
    const name = root.element('name');
    expect(name).toMatchObject({ line: 3, column: 3, text: 'x & y' });
    expect(name?.attributes[0]).toMatchObject({ line: 4, column: 2 });
    expect(root.children.map((child) => child.kind)).toEqual(['text', 'comment', 'text', 'element', 'text']);
  });

  it('resolves namespaces whatever the prefix', () => {
    const { root } = parseXml("<d xmlns:q='urn:x'><q:a/></d>");
    expect(root.elements()[0]).toMatchObject({ uri: 'urn:x', localName: 'a', name: 'q:a' });
  });

  it.each([
    ['<!DOCTYPE x><x/>', 'DOCTYPE is not allowed'],
    ['<x>&nbsp;</x>', 'undefined entity'],
    ['<x><y></x>', 'unexpected close tag'],
    ["<x a='1' a='2'/>", 'duplicate attribute'],
    ['', 'document must contain a root element'],
    ['<x', 'must contain a root element'],
    ['<x><y>', 'unclosed tag'],
    ["<x a='<'/>", 'disallowed character'],
    ['<p:x/>', 'unbound namespace prefix'],
  ])('refuses %s', (text, message) => {
    expect(() => parseXml(text, { fileName: 'g.xml' })).toThrow(XmlSyntaxError);
    expect(() => parseXml(text, { fileName: 'g.xml' })).toThrow(new RegExp(`^g\\.xml:\\d+:\\d+: .*${message}`));
  });

  it('refuses documents past the limits', () => {
    expect(() => parseXml('<a>'.repeat(300))).toThrow(/nested deeper than 256/);
    expect(() => parseXml(`<a>${'<b/>'.repeat(20)}</a>`, { maxElements: 10 })).toThrow(/more than 10 elements/);
    expect(() => parseXml('<a>            </a>', { maxLength: 10 })).toThrow(/longer than 10/);
  });
});

describe('formatXml', () => {
  it("writes libvirt's style", () => {
    expect(reparse('<a  b="it\'s"><c></c><d>t&lt;</d>\n\n<!--k--></a>')).toBe(
      "<a b='it&apos;s'>\n  <c/>\n  <d>t&lt;</d>\n  <!--k-->\n</a>\n",
    );
  });

  it('leaves mixed content alone', () => {
    expect(reparse('<m>a <b>c</b> d<![CDATA[<]]></m>')).toBe('<m>a <b>c</b> d<![CDATA[<]]></m>\n');
  });

  it('never lets a value break out of its place', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (attribute, text) => {
        const element = new XmlElement('x', { children: [textNode(text)] });
        element.setAttribute('a', attribute);
        const back = parseXml(formatXml(element)).root;
        // oxlint-disable-next-line no-control-regex
        const clean = (value: string) => value.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '');
        expect(back.attribute('a')).toBe(clean(attribute));
        if (/\S/.test(text)) expect(back.text).toBe(clean(text));
      }),
    );
  });

  it('is stable', () => {
    const text = reparse("<a><b c='&#10;'>x</b><d> </d></a>");
    expect(reparse(text)).toBe(text);
  });
});
