import { describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../../core/errors.ts';
import { formatPool, formatPoolSources, parsePool, parsePoolSource } from './pool.ts';
import { formatPoolCapabilities } from './pool-capabilities.ts';

const UUID = '7b2a560c-255b-4b3e-b438-816de7ef6948';

function pool(type: string, rest: string, name = '<name>p</name>'): string {
  return `<pool type='${type}'>${name}<uuid>${UUID}</uuid>${rest}</pool>`;
}

/** As libvirt writes it: sizes always said, an empty source with both tags. */
function written(type: string, source: string, rest: string): string {
  return `<pool type='${type}'>
  <name>p</name>
  <uuid>${UUID}</uuid>
  <capacity unit='bytes'>0</capacity>
  <allocation unit='bytes'>0</allocation>
  <available unit='bytes'>0</available>
  <source>
${source}  </source>
${rest}</pool>
`;
}

describe('pools', () => {
  it('have no UUID yet where theirs is empty: that is how some clients ask for one', () => {
    const xml = "<pool type='dir'><name>p</name><uuid></uuid><target><path>/t</path></target></pool>";
    expect(parsePool(xml).uuid).toBeUndefined();
    expect(parsePool(xml.replace('<uuid></uuid>', '<uuid/>')).uuid).toBeUndefined();
    expect(() => parsePool(xml.replace('<uuid></uuid>', '<uuid>x</uuid>'))).toThrow(/is not a UUID/);
  });

  it.each([
    ['dir', '<source><device path="/dev/x"/></source><target><path>/a//b/</path></target>', '', '/a/b'],
    [
      'fs',
      '<source><device path="/dev/x"/></source><target><path>/a</path></target>',
      "    <device path='/dev/x'/>\n    <format type='auto'/>\n",
      '/a',
    ],
    [
      'netfs',
      '<source><host name="h"/><dir path="/p/"/><format type="nfs"/><protocol ver="4"/></source><target><path>/a</path></target>',
      "    <host name='h'/>\n    <dir path='/p'/>\n    <format type='nfs'/>\n    <protocol ver='4'/>\n",
      '/a',
    ],
    [
      'logical',
      '<target><path>/elsewhere</path></target>',
      "    <name>p</name>\n    <format type='lvm2'/>\n",
      '/dev/p',
    ],
    [
      'disk',
      '<source><device path="/dev/x" part_separator="no"/></source><target><path>/dev</path></target>',
      "    <device path='/dev/x' part_separator='no'/>\n    <format type='unknown'/>\n",
      '/dev',
    ],
    ['zfs', '<source><name>tank</name></source>', '    <name>tank</name>\n', '/dev/zvol/tank'],
    [
      'iscsi',
      '<source><host name="h" port="3260"/><device path="iqn.x"/></source><target><path>/dev/disk/by-path</path></target>',
      "    <host name='h' port='3260'/>\n    <device path='iqn.x'/>\n",
      '/dev/disk/by-path',
    ],
  ])('%s', (type, rest, source, path) => {
    const target = `  <target>\n    <path>${path}</path>\n  </target>\n`;
    const text = written(type, source, target);
    expect(formatPool(parsePool(pool(type, rest)))).toBe(text);
    expect(formatPool(parsePool(text))).toBe(text);
  });

  it('of the network have no target', () => {
    const text = written('rbd', "    <host name='h'/>\n    <name>x</name>\n", '');
    expect(formatPool(parsePool(pool('rbd', "<source><host name='h'/><name>x</name></source>")))).toBe(text);
  });

  it('keep permissions, and owners only where they are given', () => {
    const target = `  <features>
    <cow state='no'/>
  </features>
  <source>
  </source>
  <target>
    <path>/a</path>
    <permissions>
      <mode>0700</mode>
    </permissions>
  </target>
`;
    const rest =
      '<features><cow state="no"/></features><target><path>/a</path><permissions><mode>700</mode><owner>-1</owner></permissions></target>';
    expect(formatPool(parsePool(pool('dir', rest)))).toContain(target);
  });

  it.each([
    ['dir', '', /missing storage pool target path/],
    ['fs', '<target><path>/a</path></target>', /missing storage pool source device name/],
    ['netfs', '<target><path>/a</path></target>', /source host name[^]*source path/],
    ['foo', '', /'foo' is unknown/],
    ['dir', '<target><path>/a</path><permissions><mode>9</mode></permissions></target>', /1:\d+: pool\/target.*octal/],
  ])('%s: what is missing or wrong is said', (type, rest, message) => {
    expect(() => parsePool(pool(type, rest))).toThrow(message);
  });

  it.each([
    ['', /missing pool source name element/],
    ['<name>a/b</name>', /cannot contain '\/'/],
    ['<name>..</name>', /not one that a file could have/],
  ])('the name %s', (name, message) => {
    expect(() => parsePool(pool('dir', '<target><path>/a</path></target>', name))).toThrow(message);
  });

  it('an unknown format has a code of its own', () => {
    const xml = pool('fs', '<source><device path="/d"/><format type="zz"/></source><target><path>/a</path></target>');
    expect(() => parsePool(xml)).toThrow(VirtError);
    expect(() => parsePool(xml)).toThrow(expect.objectContaining({ code: ErrorCode.CONFIG_UNSUPPORTED }));
  });

  it('sources that are searched for', () => {
    expect(formatPoolSources([])).toBe('<sources>\n</sources>\n');
    expect(parsePoolSource("<source><host name='h'/></source>").hosts).toEqual([{ name: 'h' }]);
    expect(() => parsePoolSource('<pool/>')).toThrow(/expecting root element of 'source'/);
  });

  it('capabilities name every kind', () => {
    const xml = formatPoolCapabilities((type) => type === 'dir');
    expect(xml).toContain("<pool type='dir' supported='yes'>\n    <volOptions>\n      <defaultFormat type='raw'/>");
    expect(xml).toContain("<pool type='mpath' supported='no'>\n  </pool>");
  });
});
