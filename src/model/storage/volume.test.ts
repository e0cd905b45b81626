import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { formatVolume, parseVolume, parseVolumeRequest } from './volume.ts';

const WRITTEN = `<volume type='file'>
  <name>enc.qcow2</name>
  <key>/p/enc.qcow2</key>
  <capacity unit='bytes'>4194304</capacity>
  <allocation unit='bytes'>2494464</allocation>
  <physical unit='bytes'>2621440</physical>
  <target>
    <path>/p/enc.qcow2</path>
    <format type='qcow2'/>
    <permissions>
      <mode>0600</mode>
      <owner>0</owner>
      <group>0</group>
    </permissions>
    <timestamps>
      <atime>1795250344.196168887</atime>
      <mtime>1795250344.192326592</mtime>
      <ctime>1795250344.196101086</ctime>
      <btime>0</btime>
    </timestamps>
    <encryption format='luks'>
    </encryption>
    <compat>1.1</compat>
    <clusterSize unit='B'>131072</clusterSize>
    <features>
      <lazy_refcounts/>
      <extended_l2/>
    </features>
  </target>
  <backingStore>
    <path>/p/base</path>
    <format type='raw'/>
  </backingStore>
</volume>
`;

describe('volumes', () => {
  it('are read and written as libvirt does', () => {
    expect(formatVolume(parseVolume(WRITTEN))).toBe(WRITTEN);
  });

  it('requests have defaults: format of the pool, all of the capacity, the format that features need', () => {
    const xml = "<volume><name>v</name><capacity unit='KiB'>1</capacity>%</volume>";
    const request = parseVolumeRequest(xml.replace('%', ''), 'dir');
    expect(request).toMatchObject({ name: 'v', capacity: 1024n, allocation: undefined });
    expect(request.target.format?.type).toBe('raw');
    const features = "<target><format type='qcow2'/><features><lazy_refcounts/></features></target>";
    expect(parseVolumeRequest(xml.replace('%', features), 'dir').target.compat).toBe('1.1');
    expect(parseVolumeRequest(xml.replace('%', ''), 'logical').target.format).toBeUndefined();
  });

  it('a copy has the size of its source, an overlay may have none of its own', () => {
    const source = { capacity: 7n, allocation: 5n };
    expect(parseVolumeRequest('<volume><name>v</name></volume>', 'dir', source).capacity).toBe(7n);
    const overlay = '<volume><name>v</name><backingStore><path>/b</path></backingStore></volume>';
    expect(parseVolumeRequest(overlay, 'dir').capacity).toBe(0n);
  });

  it.each([
    ['<volume><capacity>1</capacity></volume>', /missing volume name element/],
    ['<volume><name>v</name></volume>', /missing capacity element/],
    ['<foo/>', /expecting root element of 'volume', not 'foo'/],
    [
      '<volume><name>v</name><capacity>1</capacity><target><compat>a</compat></target></volume>',
      /forbidden characters/,
    ],
    [
      '<volume><name>v</name><capacity>1</capacity><target><features><x/></features></target></volume>',
      /unsupported.*<x>/,
    ],
    ["<volume><name>v</name><capacity unit='foo'>1</capacity></volume>", /unit 'foo' is unknown/],
  ])('%s', (xml, message) => {
    expect(() => parseVolumeRequest(xml, 'dir')).toThrow(message);
  });

  it('an unknown format has a code of its own', () => {
    const xml = "<volume><name>v</name><capacity>1</capacity><target><format type='foo'/></target></volume>";
    expect(() => parseVolumeRequest(xml, 'dir')).toThrow(
      expect.objectContaining({ code: ErrorCode.CONFIG_UNSUPPORTED }),
    );
  });
});
