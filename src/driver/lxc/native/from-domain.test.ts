import { describe, expect, it } from 'vitest';
import { formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import { domainToLxc } from './from-domain.ts';
import { lxcToDomain } from './to-domain.ts';

const UUID = 'c7a5fdbd-edaf-9455-926a-d65c16db1809';
const back = (text: string) => lxcToDomain(text, { uuid: UUID, randomBytes: (count) => new Uint8Array(count) });

/** All that has a key on both sides. */
const FULL = `lxc.uts.name = box
lxc.arch = s390x
lxc.rootfs.path = dir:/srv/box
lxc.mount.entry = /home home none rw,bind,create=dir 0 0
lxc.mount.entry = /dev/sdb1 my\\040data auto ro,create=dir 0 0
lxc.mount.entry = tmpfs tmp tmpfs rw,size=8192k,create=dir 0 0
lxc.init.cmd = /bin/sh -l
lxc.init.cwd = /srv
lxc.init.uid = 7
lxc.init.gid = 8
lxc.environment = A=b=c
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.hwaddr = 02:00:00:00:00:01
lxc.net.0.name = eth0
lxc.net.0.veth.pair = box0
lxc.net.0.flags = up
lxc.net.0.mtu = 1400
lxc.net.0.ipv4.address = 10.0.0.2/24
lxc.net.0.ipv6.address = fd00::2/64
lxc.net.0.ipv4.gateway = 10.0.0.1
lxc.net.1.type = macvlan
lxc.net.1.link = eno1
lxc.net.1.macvlan.mode = passthru
lxc.net.1.hwaddr = 02:00:00:00:00:02
lxc.net.2.type = phys
lxc.net.2.link = eno2
lxc.net.2.flags = up
lxc.tty.max = 2
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 200000 65536
lxc.cgroup.memory.limit_in_bytes = 1073741824
lxc.cgroup.memory.soft_limit_in_bytes = 134217728
lxc.cgroup.memory.memsw.limit_in_bytes = 2147483648
lxc.cgroup.cpu.shares = 1024
lxc.cgroup.cpu.cfs_period_us = 50000
lxc.cgroup.cpu.cfs_quota_us = -1
lxc.cgroup.cpuset.cpus = 0-1
lxc.cgroup.cpuset.mems = 0
lxc.cgroup.blkio.weight = 500
lxc.cgroup.blkio.device_weight = 8:16 1000
lxc.cgroup.blkio.throttle.write_bps_device = 8:16 100
lxc.cap.drop = sys_module sys_time
lxc.apparmor.profile = unconfined
lxc.seccomp.profile = /etc/x.seccomp
`;

describe('domainToLxc', () => {
  it('is the way back, line for line', () => {
    const { domain, notes } = back(FULL);
    expect(notes).toEqual([]);
    expect(domainToLxc(domain)).toEqual({ text: FULL, notes: [] });
    // Also through text.
    expect(domainToLxc(parseDomain(formatDomain(domain)).domain).text).toBe(FULL);
  });

  it.each(['lxc.net.0.type = empty', 'lxc.net.0.type = none', 'lxc.cap.keep = chown kill'])('keeps %s', (line) => {
    const text = `lxc.uts.name = box\nlxc.rootfs.path = dir:/srv/box\n${line}\n`;
    expect(domainToLxc(back(text).domain).text).toContain(line);
  });

  it('tells what LXC has no key for', () => {
    const xml = `<domain type='lxc'><name>box</name><os><type>exe</type></os>
      <resource><partition>/production</partition></resource>
      <devices>
        <filesystem type='mount'><source dir='/srv/box'/><target dir='/'/></filesystem>
        <filesystem type='file'><source file='/x.img'/><target dir='/x'/></filesystem>
        <interface type='network'><source network='default'/>
          <route family='ipv4' address='10.9.0.0' prefix='16' gateway='10.0.0.1'/></interface>
        <hostdev mode='capabilities' type='misc'><source><char>/dev/input/event3</char></source></hostdev>
      </devices></domain>`;
    const { notes } = domainToLxc(parseDomain(xml).domain);
    expect(notes.join('\n')).toMatch(/<filesystem type='file'> on \/x/);
    expect(notes.join('\n')).toMatch(/becomes a veth without a link/);
    expect(notes.join('\n')).toMatch(/the route to 10.9.0.0/);
    expect(notes.join('\n')).toMatch(/<hostdev type='misc'>/);
    expect(notes.join('\n')).toMatch(/<resource>/);
  });

  it.each([
    ["<domain type='kvm'/>", /not of a container/],
    ["<domain type='lxc'><devices/></domain>", /has no <filesystem>/],
  ])('%s is refused', (xml, message) => {
    expect(() => domainToLxc(parseDomain(xml).domain)).toThrow(message);
  });
});
