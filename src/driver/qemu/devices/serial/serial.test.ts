import { describe, expect, it } from 'vitest';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { fillChannelPaths } from '../channel/channel-path.ts';
import { FAMILY as channel } from '../channel/index.ts';
import { FAMILY as console } from '../console/index.ts';
import { FAMILY as parallel } from '../parallel/index.ts';
import { FAMILY as serial } from './index.ts';

const TYPES = ['isa-serial', 'isa-debugcon', 'usb-serial', 'pci-serial', 'spapr-vty', 'sclpconsole', 'sclplmconsole'];
const bench = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(xml, { families: [serial, parallel, channel, console], types: TYPES, ...options });

describe('consoles and serial ports', () => {
  it('makes a lone console the first serial port, and shows it as a console', () => {
    const { domain, args, faults } = bench("<console type='file'><source path='/o'/></console>");
    expect(faults).toEqual([]);
    expect(domain.devices?.serials).toMatchObject([
      { type: 'file', target: { type: 'isa-serial', port: 0, model: { name: 'isa-serial' } } },
    ]);
    expect(domain.devices?.consoles).toMatchObject([
      { type: 'file', sources: [{ path: '/o' }], target: { type: 'serial', port: 0 }, alias: { name: 'serial0' } },
    ]);
    expect(args).toHaveLength(3);
  });

  it('puts the mirror of the first port before virtio consoles, and numbers them', () => {
    const { domain, args } = bench(
      "<serial type='pty'/><console type='pty'><target type='virtio' port='0'/></console>",
    );
    expect(domain.devices?.consoles.map(({ target }) => target)).toEqual([
      { type: 'serial', port: 0 },
      { type: 'virtio', port: 1 },
    ]);
    expect(args.slice(2)).toEqual([
      '-chardev pty,id=charconsole1',
      '-device {"driver":"virtconsole","chardev":"charconsole1","id":"console1"}',
    ]);
  });

  it('replaces a console that differs from its serial port', () => {
    const { domain } = bench("<serial type='null'/><console type='pty'><target type='serial'/></console>");
    expect(domain.devices?.consoles[0]?.type).toBe('null');
  });

  it('makes no console of a port on USB or PCI', () => {
    const { domain } = bench("<serial type='pty'><target type='usb-serial'/></serial>");
    expect(domain.devices?.consoles).toEqual([]);
  });

  it('numbers ports that have no number behind the highest one', () => {
    const { domain } = bench(
      "<serial type='pty'/><serial type='null'><target port='4'/></serial><serial type='null'/>",
    );
    expect(domain.devices?.serials.map(({ target }) => target?.port)).toEqual([5, 4, 6]);
  });

  it('refuses a second console on a serial port, and kinds of other hypervisors', () => {
    const { faults } = bench(
      "<serial type='pty'/><console/><console><target type='serial'/></console><console><target type='xen'/></console>",
    );
    expect(faults).toHaveLength(2);
  });
});

describe('serial ports', () => {
  it.each([
    ['x86_64', 'q35', '', 'isa-serial', 'isa-serial'],
    ['x86_64', 'q35', "type='isa-debug'", 'isa-debug', 'isa-debugcon'],
    ['x86_64', 'q35', "type='pci-serial'", 'pci-serial', 'pci-serial'],
    ['aarch64', 'virt', '', 'system-serial', 'pl011'],
    ['aarch64', 'virt-9.0', "type='isa-serial'", 'system-serial', 'pl011'],
    ['riscv64', 'virt', '', 'system-serial', '16550a'],
    ['ppc64', 'pseries-10.0', '', 'spapr-vio-serial', 'spapr-vty'],
    ['s390x', 's390-ccw-virtio', '', 'sclp-serial', 'sclpconsole'],
  ])('%s %s %s: %s, %s', (arch, machine, target, type, model) => {
    const { domain, faults } = bench(`<serial type='null'><target ${target}/></serial>`, { arch, machine });
    expect(domain.devices?.serials[0]?.target).toMatchObject({ type, model: { name: model } });
    expect(faults).toEqual([]);
  });

  it("connects a board's own port with -serial", () => {
    const { args } = bench("<serial type='null'/>", { arch: 'aarch64', machine: 'virt' });
    expect(args).toEqual(['-chardev null,id=charserial0', '-serial chardev:charserial0']);
  });

  it('tells an ISA port its number, and a debug console its I/O port', () => {
    const { args } = bench(
      `<serial type='null'/><serial type='null'><target type='isa-debug'/><address type='isa' iobase='0x402'/></serial>`,
    );
    expect(args[1]).toBe('-device {"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0}');
    expect(args[3]).toBe('-device {"driver":"isa-debugcon","chardev":"charserial1","id":"serial1","iobase":1026}');
  });

  it.each([
    ["type='system-serial'><model name='pl011'/></target>", 'has no serial port of type'],
    ["type='usb-serial'><model name='pci-serial'/></target>", "needs target type 'pci-serial'"],
    ["type='usb-serial'/><address type='isa' iobase='0x3f8'/>", "takes usb address, not 'isa'"],
  ])('refuses <target %s', (target, message) => {
    expect(bench(`<serial type='null'><target ${target}</serial>`).faults.join()).toContain(message);
  });

  it('leaves out a SPICE port without a SPICE server', () => {
    expect(bench("<serial type='spiceport'><source channel='a.b'/></serial>").args).toEqual([]);
  });
});

describe('parallel ports', () => {
  it('have a chardev of their own for a device of the host', () => {
    expect(bench("<parallel type='dev'><source path='/dev/parport0'/></parallel>").args).toEqual([
      '-chardev parallel,id=charparallel0,path=/dev/parport0',
      '-device {"driver":"isa-parallel","chardev":"charparallel0","id":"parallel0"}',
    ]);
  });
});

describe('channels', () => {
  it('names the agent of SPICE, and listens where a socket has no path', () => {
    const { domain, args, context } = bench(`
      <channel type='spicevmc'><target type='virtio'/></channel>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`);
    expect(domain.devices?.channels[1]?.sources).toEqual([]);
    expect(args[1]).toContain('"name":"com.redhat.spice.0"');
    expect(args).toContain('-chardev spicevmc,id=charchannel0,name=vdagent');
    expect(args).toContain('-chardev socket,id=charchannel1,fd=3,server=on,wait=off');
    const path = '/var/run/libvirt/qemu/channel/1-demo/org.qemu.guest_agent.0';
    expect(context.fds).toEqual([{ kind: 'listen-unix', path }]);
    expect(context.files).toEqual([
      { kind: 'directory', path: '/var/run/libvirt/qemu/channel/1-demo', mode: 0o750 },
      { kind: 'socket', path },
    ]);
  });

  it('writes the paths of a run into its definition, and plans the same', () => {
    const xml = "<channel type='unix'><target type='virtio' name='a/b'/></channel>";
    const plain = bench(xml);
    const written = bench(xml, { prepare: ({ domain, layout, id }) => fillChannelPaths(domain, layout, id) });
    const path = '/var/run/libvirt/qemu/channel/1-demo/a-b';
    expect(written.domain.devices?.channels[0]?.sources).toEqual([{ mode: 'bind', path, seclabels: [] }]);
    expect(written.context.fds).toEqual([{ kind: 'listen-unix', path }]);
    expect(written.context.files).toEqual(plain.context.files);
    expect(written.args).toEqual(plain.args);
  });

  it.each([
    ['/var/run/libvirt/qemu/channel/7-demo/agent', undefined],
    ['/var/lib/libvirt/qemu/channel/target/domain-demo/agent', undefined],
    ['/var/lib/libvirt/qemu/channel/target/demo.agent', undefined],
    ['/var/lib/libvirt/qemu/channel/target/agent', '/var/lib/libvirt/qemu/channel/target/agent'],
    ['/var/run/libvirt/qemu/channel/7-demo/other', '/var/run/libvirt/qemu/channel/7-demo/other'],
    ['/srv/channel/7-demo/agent', '/srv/channel/7-demo/agent'],
  ])('keeps the path %s: %s', (path, kept) => {
    const { domain } = bench(
      `<channel type='unix'><source mode='bind' path='${path}'/><target type='virtio' name='agent'/></channel>`,
    );
    expect(domain.devices?.channels[0]?.sources[0]?.path).toBe(kept);
  });

  it('forwards an address of the user-mode network', () => {
    const { args } = bench("<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>");
    expect(args[1]).toBe(
      '-netdev {"type":"user","guestfwd":[{"str":"tcp:10.0.2.1:4600-chardev:charchannel0"}],"id":"channel0"}',
    );
  });

  it.each([
    ["type='pty'><target type='xen' name='x'/>", "no channel of type 'xen'"],
    ["type='pty'><target type='guestfwd' address='fe80::1' port='1'/>", 'takes an IPv4 address'],
    ["type='pty'><target type='guestfwd' address='10.0.2.1'/>", 'needs a port'],
    ["type='spicevmc'><target type='virtio' name='x'/>", "is named 'com.redhat.spice.0'"],
  ])('refuses <channel %s', (xml, message) => {
    expect(bench(`<channel ${xml}</channel>`).faults.join()).toContain(message);
  });

  it('keeps a comma of a name inside its value', () => {
    const { args } = bench("<channel type='pty'><target type='virtio' name='a,driver=x'/></channel>");
    expect(args[1]).toContain('"name":"a,driver=x"');
  });
});
