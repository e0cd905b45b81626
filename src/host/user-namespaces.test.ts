import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSubordinateIds, whyNoProc, whyNoUserNamespaces } from './user-namespaces.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'userns-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));
function write(files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
}
const MAX = 'sys/user/max_user_namespaces';
const CLONE = 'sys/kernel/unprivileged_userns_clone';
const APPARMOR = 'sys/kernel/apparmor_restrict_unprivileged_userns';

describe('switches of the kernel', () => {
  it.each([
    ['allowed', { [MAX]: '63470\n' }, undefined, undefined],
    ['none are allowed', { [MAX]: '0\n' }, /user.max_user_namespaces is 0/, /user.max_user_namespaces is 0/],
    ['a kernel without', {}, /CONFIG_USER_NS/, /CONFIG_USER_NS/],
    ["root's alone", { [MAX]: '1', [CLONE]: '0\n' }, /unprivileged_userns_clone is 0/, undefined],
    ['AppArmor', { [MAX]: '1', [CLONE]: '1', [APPARMOR]: '1\n' }, /apparmor_restrict_unprivileged_userns/, undefined],
    ['AppArmor, not in use', { [MAX]: '1', [APPARMOR]: '0\n' }, undefined, undefined],
  ])('%s', (_, files, forUsers, forRoot) => {
    write(files);
    const ask = (isRoot: boolean) => whyNoUserNamespaces({ isRoot, proc: root, probe: () => false });
    for (const [answer, expected] of [[ask(false), forUsers] as const, [ask(true), forRoot] as const]) {
      if (expected === undefined) expect(answer).toBeUndefined();
      else expect(answer?.why).toMatch(expected);
    }
  });

  it('a program that AppArmor allows them has them', () => {
    write({ [MAX]: '1', [APPARMOR]: '1' });
    expect(whyNoUserNamespaces({ isRoot: false, proc: root, probe: () => true })).toBeUndefined();
  });
});

describe('a /proc of its own', () => {
  const PROC = '9 8 0:1 / /proc rw - proc proc rw\n';
  const over = (place: string) => `10 9 0:2 / ${place} rw - tmpfs tmpfs rw\n`;
  it.each([
    ['nothing is known', '', undefined],
    ['a whole one', PROC, undefined],
    ['places for mounts', PROC + over('/proc/sys/fs/binfmt_misc') + over('/proc/fs/nfsd'), undefined],
    ['a covered one', PROC + over('/proc/kcore'), '/proc/kcore is covered'],
    ['a read-only part', `${PROC}11 9 0:1 /sys /proc/sys ro - proc proc rw\n`, '/proc/sys is covered'],
    ['another that is whole', `${PROC}${over('/proc/kcore')}12 8 0:1 / /dev/.p rw - proc proc rw\n`, undefined],
  ])('%s', (_, mountinfo, expected) => {
    write({ 'self/mountinfo': mountinfo });
    if (expected === undefined) expect(whyNoProc(root)).toBeUndefined();
    else expect(whyNoProc(root)?.why).toContain(expected);
  });
});

describe('subordinate ids', () => {
  it("are the user's lines, by name and by number", () => {
    write({ subuid: 'ann:100000:65536\nbob:165536:65536\n1000:300000:10\n', subgid: '# none\nann:7:x\n' });
    expect(readSubordinateIds({ uid: 1000, name: 'ann' }, { etc: root })).toEqual({
      uids: [
        { first: 100_000, count: 65_536 },
        { first: 300_000, count: 10 },
      ],
      gids: [],
    });
  });

  it('are none without the files', () => {
    expect(readSubordinateIds({ uid: 1, name: undefined }, { etc: root })).toEqual({ uids: [], gids: [] });
  });
});
