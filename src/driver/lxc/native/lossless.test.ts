/** No line of a configuration is lost: each is in the definition, or told with its place, or the whole is refused with it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { VirtError } from '../../../core/errors.ts';
import { formatDomain } from '../../../model/domain/domain.ts';
import { lxcToDomain } from './to-domain.ts';

const HEAD = 'lxc.uts.name = box\nlxc.rootfs.path = dir:/srv/box\n';
const UUID = 'c7a5fdbd-edaf-9455-926a-d65c16db1809';

function convert(text: string): { xml: string; notes: readonly string[] } {
  const { domain, notes } = lxcToDomain(text, { fileName: 'c', uuid: UUID, randomBytes: (n) => new Uint8Array(n) });
  return { xml: formatDomain(domain), notes };
}

/** All keys of lxc.container.conf(5) of LXC 5 and of the names that LXC 1 had, with values that they take. */
const KEYS =
  `lxc.arch s390x|lxc.ephemeral 1|lxc.init.cmd /bin/x a|lxc.init.cwd /srv|lxc.init.uid 7|lxc.init.gid 8|lxc.execute.cmd /bin/y|lxc.sched.core 1
lxc.proc.oom_score_adj 10|lxc.signal.halt SIGUSR1|lxc.signal.reboot SIGTERM|lxc.signal.stop SIGKILL|lxc.net.0.type veth|lxc.net.0.link br7
lxc.net.0.l2proxy 1|lxc.net.0.mtu 1499|lxc.net.0.name eth7|lxc.net.0.hwaddr 02:00:00:00:00:07|lxc.net.0.ipv4.address 10.7.7.7/24 10.7.7.255
lxc.net.0.ipv4.gateway 10.7.7.1|lxc.net.0.ipv6.address fd07::7/64|lxc.net.0.ipv6.gateway auto|lxc.net.0.script.up /x|lxc.net.0.script.down /x
lxc.net.0.flags up|lxc.net.0.veth.pair box7|lxc.net.0.veth.mode router|lxc.net.0.veth.vlan.id 3|lxc.net.0.veth.ipv4.route 10.0.0.0/8
lxc.net.0.macvlan.mode bridge|lxc.net.0.vlan.id 4|lxc.net.0.ipvlan.mode l3|lxc.net.0.ipvlan.isolation vepa|lxc.net.1.type phys|lxc.net.1.link eno7
lxc.net.2.type ipvlan|lxc.net.2.link eno8|lxc.net.2.ipv4.address 10.8.8.8/24|lxc.net.3.type empty|lxc.net.3.hwaddr 02:00:00:00:00:09
lxc.pty.max 10|lxc.console.buffer.size 4096|lxc.console.size 4096|lxc.console.logfile /x|lxc.console.rotate 1|lxc.console.path none|lxc.tty.max 3
lxc.tty.dir lxc|lxc.autodev 0|lxc.autodev.tmpfs.size 5000|lxc.mount.fstab /nowhere|lxc.mount.entry /a7 b7 none bind 0 0|lxc.mount.entry proc proc proc rw 0 0
lxc.mount.entry t tmp tmpfs size=1m,huge=always 0 0|lxc.mount.auto proc:rw|lxc.rootfs.mount /x|lxc.rootfs.options ro|lxc.rootfs.managed 0
lxc.cgroup.memory.limit_in_bytes 7M|lxc.cgroup.devices.deny a|lxc.cgroup.cpuset.cpus 0-1|lxc.cgroup.freezer.state X|lxc.cgroup2.memory.max 9M
lxc.cgroup2.memory.min 1M|lxc.cgroup2.memory.swap.max 9M|lxc.cgroup2.io.max 8:0 rbps=7777|lxc.cgroup2.cpu.max max|lxc.cgroup2.cpu.weight 100|lxc.cgroup2.memory.high max
lxc.cgroup.dir x|lxc.cgroup.dir.monitor x|lxc.cgroup.dir.monitor.pivot x|lxc.cgroup.dir.container x|lxc.cgroup.dir.container.inner x|lxc.cgroup.relative 1
lxc.cap.drop sys_time bpf|lxc.cap.keep chown|lxc.namespace.clone net|lxc.namespace.keep user|lxc.namespace.share.net 42|lxc.time.offset.boot 7d
lxc.time.offset.monotonic 7s|lxc.prlimit.nofile 77|lxc.sysctl.net.ipv4.ip_forward 1|lxc.apparmor.profile p7|lxc.apparmor.allow_incomplete 1
lxc.apparmor.allow_nesting 1|lxc.apparmor.raw x|lxc.selinux.context a:b:c:s7|lxc.selinux.context.keyring a:b:c:s8|lxc.keyring.session 0
lxc.seccomp.profile /x7|lxc.seccomp.allow_nesting 1|lxc.seccomp.notify.proxy x|lxc.seccomp.notify.cookie x|lxc.no_new_privs 1|lxc.idmap u 0 7000 10
lxc.hook.version 1|lxc.hook.pre-start /x|lxc.hook.mount /x|lxc.hook.stop /x|lxc.hook.clone /x|lxc.log.level 1|lxc.log.file /x|lxc.log.syslog local0
lxc.start.auto 1|lxc.start.delay 7|lxc.start.order 7|lxc.monitor.unshare 1|lxc.monitor.signal.pdeath 1|lxc.group g7|lxc.environment A7=b|lxc.environment PATH
lxc.tty 2|lxc.pts 7|lxc.console /x|lxc.id_map g 0 8000 10|lxc.mount /nowhere|lxc.init_cmd /bin/z|lxc.init_uid 9|lxc.init_gid 9|lxc.aa_profile p8
lxc.se_context a:b:c:s9|lxc.seccomp /x8|lxc.haltsignal 1|lxc.rebootsignal 1|lxc.stopsignal 1|lxc.kmsg 1|lxc.devttydir x|lxc.loglevel 1|lxc.logfile /x
lxc.syslog x|lxc.limit.nofile 7|lxc.pivotdir x|lxc.aa_allow_incomplete 1|lxc.rebootsignal X|lxc.nonsense x|lxc.network.type veth|lxc.network.link br9`
    .split(/[|\n]/)
    .map((line) => line.replace(' ', ' = '));

/** What a container is without asking, so that saying it changes nothing. */
const NOTHING_SAID =
  /^lxc\.(autodev = 1|net\.\d\.flags|mount\.entry = proc proc|cgroup2\.(cpu\.max|memory\.high) = max|net\.3\.type = empty|console(\.path)? = none|mount\.auto)/;

function isAccounted(before: string, line: string): string {
  let after: { xml: string; notes: readonly string[] };
  try {
    after = convert(`${before}${line}\n`);
  } catch (error) {
    expect(error).toBeInstanceOf(VirtError);
    expect(String(error)).toContain('c:');
    return 'refused';
  }
  const place = `c:${before.split('\n').length}:`;
  if (after.notes.some((note) => note.startsWith(place))) return 'told';
  return after.xml === convert(before).xml ? 'lost' : 'converted';
}

it.each(KEYS)('%s is not lost', (line) => {
  const needs = /^lxc\.net\.(\d)\.(?!type)/.exec(line)?.[1];
  const types: Record<string, string> = { 0: 'veth', 1: 'phys', 2: 'ipvlan', 3: 'empty' };
  const type = line.includes('macvlan.mode')
    ? 'macvlan'
    : line.includes('vlan.id') && !line.includes('veth')
      ? 'vlan'
      : types[needs ?? ''];
  const link = type === 'macvlan' || type === 'vlan' || type === 'phys' ? `lxc.net.${needs}.link = en0\n` : '';
  const before = needs === undefined ? HEAD : `${HEAD}lxc.net.${needs}.type = ${type}\n${link}`;
  const old = /^lxc\.network\.(?!type)/.test(line) ? 'lxc.network.type = veth\n' : '';
  if (!NOTHING_SAID.test(line)) expect(isAccounted(before + old, line)).not.toBe('lost');
});

const SETTINGS =
  'mtu 1499|name e7|hwaddr 02:00:00:00:00:07|ipv4.address 10.7.7.7/24|ipv4.gateway 10.7.7.1|flags up|flags down|veth.pair b7|macvlan.mode bridge|vlan.id 4'
    .split('|')
    .flatMap((setting) =>
      ['veth', 'macvlan', 'phys', 'vlan'].map((type) => [type, setting.replace(' ', ' = ')] as const),
    );

it.each(SETTINGS)('a network of type %s does not lose %s', (type, setting) => {
  const before = `${HEAD}lxc.net.0.type = ${type}\nlxc.net.0.link = en0\n`;
  // What is given away is up in any case, what is made is down in any case but one.
  const isImplied = setting === (type === 'phys' || type === 'vlan' ? 'flags = up' : 'flags = down');
  if (!isImplied) expect(isAccounted(before, `lxc.net.0.${setting}`)).not.toBe('lost');
});

it('any lines together: each is converted, told or refused with its place', () => {
  const lines = KEYS.filter((line) => !/fstab|lxc\.mount = |memory\.swap|lxc\.network/.test(line));
  fc.assert(
    fc.property(fc.uniqueArray(fc.constantFrom(...lines), { maxLength: 12 }), (chosen) => {
      const text = HEAD + chosen.map((line) => `${line}\n`).join('');
      let whole: ReturnType<typeof convert>;
      try {
        whole = convert(text);
      } catch (error) {
        expect(error).toBeInstanceOf(VirtError);
        expect(String(error)).toMatch(/c:\d+/);
        return;
      }
      for (const [index, line] of chosen.entries()) {
        const place = `c:${index + 3}:`;
        if (NOTHING_SAID.test(line) || whole.notes.some((note) => note.startsWith(place))) continue;
        // Without the line something is different, unless another line says the same thing again.
        const key = line.split(' = ')[0] ?? '';
        const isRepeated = chosen.some((other) => other !== line && sameThing(other, key));
        if (!isRepeated)
          expect([line, xmlOrRefusal(text.replace(`${line}\n`, '\n')) === whole.xml]).toEqual([line, false]);
      }
    }),
    { numRuns: 150 },
  );
});

/** Lines that others need are missed by them. */
function xmlOrRefusal(text: string): string {
  try {
    return convert(text).xml;
  } catch (error) {
    if (error instanceof VirtError) return error.message;
    throw error;
  }
}

/** Of keys that come once the last line counts, by old names too; capabilities that are kept count more than dropped ones. */
function sameThing(line: string, key: string): boolean {
  const normal = (name: string): string =>
    name
      .replace(/lxc\.(aa_|apparmor\.)profile/, 'A')
      .replace(/lxc\.(se_context|selinux\.context)$/, 'S')
      .replace(/lxc\.seccomp(\.profile)?$/, 'C')
      .replace(/lxc\.init[._](cmd|uid|gid)/, 'I$1')
      .replace(/lxc\.tty(\.max)?$/, 'T')
      .replace(/lxc\.cap\.(drop|keep)/, 'P')
      .replace(/lxc\.cgroup2?\.memory\.(limit_in_bytes|max)/, 'M');
  return normal(line.split(' = ')[0] ?? '') === normal(key);
}
