import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readHostSecurity } from './host-security.ts';
import { parseOwner, readUserNames, resolveUser, supplementaryGroups } from './user-names.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'host-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}
const read = (): ReturnType<typeof readHostSecurity> =>
  readHostSecurity({ proc: join(folder, 'proc'), sys: join(folder, 'sys'), etc: join(folder, 'etc'), uid: 0, gid: 0 });

it('has no module where none is enabled', () => {
  write('sys/module/apparmor/parameters/enabled', 'N\n');
  expect(read()).toEqual({ uid: 0, gid: 0 });
});

it("reads the policy's contexts", () => {
  write('sys/fs/selinux/enforce', '1');
  write('proc/self/attr/current', 'u:r:virtd_t:s0-s0:c0.c1023\0');
  write('etc/selinux/config', '# comment\nSELINUX=enforcing\nSELINUXTYPE=mls\n');
  write('etc/selinux/mls/contexts/virtual_domain_context', 'a:b:kvm_t:s0\na:b:tcg_t:s0\n');
  write('etc/selinux/mls/contexts/virtual_image_context', 'a:b:image_t:s0\n\na:b:content_t:s0\n');
  expect(read().selinux).toEqual({
    ownContext: 'u:r:virtd_t:s0-s0:c0.c1023',
    kvmContext: 'a:b:kvm_t:s0',
    tcgContext: 'a:b:tcg_t:s0',
    fileContext: 'a:b:image_t:s0',
    contentContext: 'a:b:content_t:s0',
  });
  rmSync(join(folder, 'etc'), { recursive: true });
  expect(read().selinux).toMatchObject({
    kvmContext: 'system_u:system_r:svirt_t:s0',
    tcgContext: 'system_u:system_r:svirt_tcg_t:s0',
  });
});

it('knows whether AppArmor confines this program, and where its next profile is written', () => {
  write('sys/module/apparmor/parameters/enabled', 'Y\n');
  write('proc/self/attr/current', 'unconfined\n');
  expect(read().apparmor).toEqual({ selfConfined: false, attribute: '/proc/self/attr/exec', abstraction: false });
  write('proc/self/attr/apparmor/current', '/usr/sbin/daemon (enforce)\n');
  write('etc/apparmor.d/abstractions/libvirt-qemu', '');
  expect(read().apparmor).toEqual({
    selfConfined: true,
    attribute: '/proc/self/attr/apparmor/exec',
    abstraction: true,
  });
});

it('knows users by name and number, from the files and from getent', () => {
  write('etc/passwd', 'root:x:0:0::/root:/bin/sh\n100:x:5:6::/:/bin/sh\nqemu:x:64:65::/:/bin/false\n');
  write('etc/group', 'root:x:0:\nkvm:x:36:root,qemu\nqemu:x:65:\n');
  const asked: string[] = [];
  const names = readUserNames({
    etc: join(folder, 'etc'),
    ask: (database, key) => {
      asked.push(`${database} ${key}`);
      return key === 'ldap' ? 'ldap:x:900:901::/:/bin/sh' : undefined;
    },
  });
  expect(resolveUser('qemu', names)).toBe(64);
  // A name may look like a number; a sign says that it is one.
  expect([resolveUser('100', names), resolveUser('+100', names), resolveUser('101', names)]).toEqual([5, 100, 101]);
  expect(resolveUser('ldap', names)).toBe(900);
  expect(parseOwner('qemu:kvm', names)).toEqual({ uid: 64, gid: 36 });
  expect(supplementaryGroups({ uid: 64, gid: 65 }, names)).toEqual([65, 36]);
  expect(() => resolveUser('nobody-here', names)).toThrow(/make it with: useradd --system nobody-here/);
  expect(asked).toContain('passwd ldap');
});
