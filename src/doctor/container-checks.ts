/**
 * What keeps a container (`<domain type='lxc'>`) from starting that can be seen beforehand: its root, an init that is too old for this
 * host's cgroups, memory that is too little for one. Nothing is started.
 */
import { lstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CgroupHost, v2Hierarchy } from '../cgroup/host.ts';
import { networkToGuard } from '../driver/lxc/plan/kernel-settings.ts';
import { type Person, refuseRootsOwn, withinPerson } from '../driver/lxc/plan/person.ts';
import { planUserNetwork } from '../driver/lxc/plan/user-network.ts';
import { readPerson } from '../driver/lxc/runtime/start-person.ts';
import type { Domain } from '../model/domain/domain.ts';
import { type Finding, fail, pass, warn } from './finding.ts';
import { type GuestSystemd, readGuestSystemd } from './guest-systemd.ts';

/** The first that starts where /sys/fs/cgroup is cgroup v2 (Debian 9, Ubuntu 18.04, CentOS 8; not Debian 8, Ubuntu 16.04, CentOS 7). */
const FIRST_SYSTEMD_ON_V2 = 232;
/** What a conversion from LXC's own configuration puts where that had no limit (64 MiB), and what systemd needs to come up. */
const LEAST_MEMORY_KIB = 128 * 1024;

/** @param cgroups the host's, which the container will see */
export function checkContainerGuest(
  domain: Domain,
  cgroups: CgroupHost,
  person: Person | undefined = readPerson(),
): Finding[] {
  const root = rootOf(domain);
  const systemd = root !== undefined && isFolder(root) ? readGuestSystemd(root) : undefined;
  return [
    ...checkPerson(domain, person),
    ...checkRoot(domain, root),
    ...checkSystemd(root, systemd, cgroups),
    ...checkMemory(domain, systemd),
    ...checkSettings(domain, cgroups, person),
  ];
}

/** What this user may not have; root may have all. */
function checkPerson(domain: Domain, person: Person | undefined): Finding[] {
  if (person === undefined) return [];
  try {
    refuseRootsOwn(domain, person);
    planUserNetwork(domain);
    if (domain.idmap !== undefined) withinPerson(domain.idmap, person);
    return [pass('guest-user', 'user', `${person.name ?? person.uid} may start it`)];
  } catch (error) {
    const why = 'the container does not start for this user';
    return [
      fail('guest-user', 'user', error instanceof Error ? error.message : String(error), why, 'sudo nestling run …'),
    ];
  }
}

/** The host's folder that is `/` inside; undefined for one in an image or a volume. */
function rootOf({ devices }: Domain): string | undefined {
  const root = devices?.filesystems.find(({ target }) => target?.dir === '/');
  return root?.type === undefined || root.type === 'mount' ? root?.source?.dir : undefined;
}

function checkRoot({ devices, os }: Domain, root: string | undefined): Finding[] {
  const hasRoot = devices?.filesystems.some(({ target }) => target?.dir === '/') === true;
  if (!hasRoot)
    return [pass('guest-root', 'root', "there is no <filesystem> for '/': the container shares this host's files")];
  if (root === undefined) return [pass('guest-root', 'root', 'in an image: what is in it was not looked at')];
  if (!isFolder(root)) {
    return [
      fail(
        'guest-root',
        'root',
        `${root} is no folder`,
        "it is to be '/' of the container",
        'nestling image build debian:bookworm && nestling image unpack debian:bookworm ROOT   # or correct <source dir=…>',
      ),
    ];
  }
  const init = os?.init ?? '/sbin/init';
  // Not followed: a link is meant for inside.
  if (lstatSync(join(root, init), { throwIfNoEntry: false }) === undefined) {
    return [
      fail(
        'guest-root',
        'init',
        `there is no ${init} in ${root}`,
        'the container ends as soon as it begins',
        '<os><init>/bin/sh</init></os>, or install systemd-sysv in it',
      ),
    ];
  }
  return [pass('guest-root', 'root', root)];
}

function checkSystemd(root: string | undefined, systemd: GuestSystemd | undefined, { mode }: CgroupHost): Finding[] {
  if (root === undefined || systemd === undefined) return [];
  const fact = `systemd ${systemd.version} in ${root}`;
  if (mode !== 'v2' || systemd.version >= FIRST_SYSTEMD_ON_V2) return [pass('guest-systemd', 'systemd inside', fact)];
  if (systemd.joinsNothing)
    return [pass('guest-systemd', 'systemd inside', `${fact}, with JoinControllers= set to nothing`)];
  return [
    warn(
      'guest-systemd',
      'systemd inside',
      fact,
      `before ${FIRST_SYSTEMD_ON_V2} it knows only cgroup v1, and this host has v2: it stops at 'Failed to create symlink /sys/fs/cgroup/net_cls: Operation not permitted'`,
      `printf '[Manager]\\nJoinControllers=\\n' >> ${join(root, 'etc/systemd/system.conf')}   # if it stops all the same: boot this host with systemd.unified_cgroup_hierarchy=0, or use a newer release inside`,
    ),
  ];
}

function checkMemory({ memory }: Domain, systemd: GuestSystemd | undefined): Finding[] {
  const memoryKiB = memory?.value ?? 0;
  const fact = `${Math.round(memoryKiB / 1024)} MiB`;
  if (memoryKiB >= LEAST_MEMORY_KIB) return [pass('guest-memory', 'memory', fact)];
  const who = systemd === undefined ? 'most distributions need' : 'systemd and its services need';
  return [
    warn(
      'guest-memory',
      'memory',
      `${fact}, which is little for a whole system`,
      `${who} more: programs in the container are killed. A definition converted from LXC's own has 64 MiB where that had no limit`,
      "<memory unit='MiB'>512</memory>",
    ),
  ];
}

/** Whether its root, where that is the host's, is kept from the host's kernel settings by more than what it may mount anew. */
function checkSettings(domain: Domain, cgroups: CgroupHost, person: Person | undefined): Finding[] {
  const mayMount = domain.features?.capabilities?.sysAdmin?.state !== false;
  if (networkToGuard(domain, person) === undefined || !mayMount) return [];
  if (v2Hierarchy(cgroups)?.writable === true) {
    return [pass('guest-settings', 'kernel settings', "a program on its group keeps its root from the host's")];
  }
  return [
    warn(
      'guest-settings',
      'kernel settings',
      'there is no cgroup v2 here to guard them with',
      "root in the container is the host's, and can mount another /proc in which it writes the host's settings",
      'mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified   # or <idmap> in the definition',
    ),
  ];
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
