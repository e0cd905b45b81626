import { describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import { completeContainer } from './complete-definition.ts';

function complete(rest: string, { head = '<memory>65536</memory>', os = '<type>exe</type>' } = {}) {
  const { domain } = parseDomain(`<domain type='lxc'><name>x</name>${head}<os>${os}</os>${rest}</domain>`);
  completeContainer(domain, {
    hostArch: 'x86_64',
    uuid: () => 'c7a5fdbd-edaf-9455-926a-d65c16db1809',
    randomBytes: (n) => new Uint8Array(n),
  });
  return domain;
}

const devices = (text: string): string => `<devices>${text}</devices>`;
const mac = (address: string): string => devices(`<interface type='ethernet'><mac address='${address}'/></interface>`);

describe('what no definition of a container may be', () => {
  it.each([
    [
      "<idmap><uid start='1' target='5' count='9'/><gid start='0' target='5' count='9'/></idmap>",
      'CONFIG_UNSUPPORTED',
      /root/,
    ],
    ["<idmap><uid start='0' target='5' count='9'/></idmap>", 'CONFIG_UNSUPPORTED', /<gid/],
    ["<features><capabilities><fly state='on'/></capabilities></features>", 'CONFIG_UNSUPPORTED', /'fly'/],
    [devices("<filesystem><source dir='/a'/></filesystem>"), 'NO_TARGET', /target dir/],
    [devices("<filesystem><target dir='/a'/></filesystem>"), 'NO_SOURCE', /on \/a has no <source>/],
    [devices("<filesystem type='ram'><target dir='/a'/></filesystem>"), 'XML_ERROR', /usage/],
    [devices("<interface type='bridge'/>"), 'XML_ERROR', /source bridge/],
    [devices("<interface type='network'/>"), 'XML_ERROR', /source network/],
    [mac('01:00:5e:00:00:01'), 'XML_ERROR', /multicast/],
    [devices("<interface type='ethernet'><ip address='x'/></interface>"), 'XML_ERROR', /'x' is no IP/],
    [devices("<hostdev mode='capabilities' type='misc'><source/></hostdev>"), 'XML_ERROR', /<char>/],
  ] as const)('%s: %s', (rest, code, message) => {
    expect(() => complete(rest)).toThrow(message);
    expect(() => complete(rest)).toThrow(expect.objectContaining({ code: ErrorCode[code] }));
  });

  it.each([
    [{ head: '' }, 'XML_ERROR'],
    [{ head: '<memory>0</memory>' }, 'XML_ERROR'],
    [{ os: '<init>/x</init>' }, 'XML_ERROR'],
    [{ os: '<type>hvm</type>' }, 'INVALID_ARG'],
    [{ os: "<type arch='pdp11'>exe</type>" }, 'CONFIG_UNSUPPORTED'],
  ] as const)('%o: %s', (parts, code) => {
    expect(() => complete('', parts)).toThrow(VirtError);
    expect(() => complete('', parts)).toThrow(expect.objectContaining({ code: ErrorCode[code] }));
  });
});

describe('what a definition leaves out', () => {
  it('maps users in order, CPUs that are placed take their memory along, a capability that is named is on', () => {
    const { idmap, numatune, features } = complete(
      `<idmap><uid start='9' target='9' count='1'/><uid start='0' target='5' count='9'/><gid start='0' target='5' count='9'/></idmap>
       <features><capabilities><mknod/></capabilities></features>`,
      { head: "<memory>65536</memory><vcpu placement='auto'>1</vcpu>" },
    );
    expect(idmap?.uids.map(({ start }) => start)).toEqual([0, 9]);
    expect(numatune?.memory).toEqual({ mode: 'strict', placement: 'auto' });
    expect(features?.capabilities).toMatchObject({ policy: 'default', mknod: { state: true } });
  });

  it('there are no other units than those', () => {
    const odd = "<filesystem type='ram'><source usage='1' units='XB'/><target dir='/a'/></filesystem>";
    expect(() => complete(devices(odd))).toThrow(/unit 'XB' is unknown/);
  });

  it('sizes of memory are in KiB, whatever they were written in', () => {
    const { devices: found } = complete(
      devices("<filesystem type='ram'><source usage='8' units='MiB'/><target dir='/a'/></filesystem>"),
    );
    expect(found?.filesystems[0]?.source).toMatchObject({ usage: 8192, units: 'KiB' });
  });
});
