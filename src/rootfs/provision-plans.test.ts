/** Provisioning as data: accounts, sshd, banners, and paths that hostile links lead astray. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { planAccounts } from './accounts.ts';
import { resolveInRoot } from './path-in-root.ts';
import { planEdits, planPackages, type RootFacts, withAcceptEnv } from './plan-provision.ts';

const TEXTS = {
  passwd: 'root:x:0:0:root:/root:/bin/bash\n',
  shadow: 'root:*:1:0:99999:7:::\n',
  group: 'root:x:0:\nsudo:x:27:other\n',
  gshadow: 'root:*::\nsudo:*::other\n',
};
const USER = { name: 'abuild', uid: 399, gid: 399, shell: '/bin/bash' };
const scratch = mkdtempSync(join(tmpdir(), 'provision-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('accounts', () => {
  const wish = { groups: [{ name: 'ci', gid: 400 }], users: [{ ...USER, groups: ['sudo', 'ci'] }], today: 20_000 };

  it('are what useradd and groupadd write', () => {
    expect(planAccounts(TEXTS, wish)).toEqual({
      passwd: `${TEXTS.passwd}abuild:x:399:399::/home/abuild:/bin/bash\n`,
      shadow: `${TEXTS.shadow}abuild:!:20000:0:99999:7:::\n`,
      group: 'root:x:0:\nsudo:x:27:other,abuild\nci:x:400:abuild\nabuild:x:399:\n',
      gshadow: 'root:*::\nsudo:*::other,abuild\nci:!::abuild\nabuild:!::\n',
    });
  });

  it('are the same when it is done again', () => {
    const once = planAccounts(TEXTS, wish);
    expect(planAccounts(once, { ...wish, today: 30_000 })).toEqual(once);
  });

  it('make no shadow where there is none', () => {
    const bare = { passwd: undefined, shadow: undefined, group: undefined, gshadow: undefined };
    expect(planAccounts(bare, { groups: [], users: [USER], today: 1 })).toEqual({
      passwd: 'abuild:x:399:399::/home/abuild:/bin/bash\n',
      group: 'abuild:x:399:\n',
      shadow: undefined,
      gshadow: undefined,
    });
  });

  it.each([
    ['a number that is taken', { ...USER, uid: 0 }, 'user abuild cannot have the number 0: it is that of root'],
    [
      'another number of the same user',
      { ...USER, name: 'root' },
      'user root is there already, its number is 0, not 399',
    ],
    ['a group that is not there', { ...USER, groups: ['none'] }, 'there is none; --group makes one'],
    ['a name that is two lines', { ...USER, name: 'a\nb' }, 'is no name of a user'],
    ['a home that is two fields', { ...USER, home: '/x:/y' }, 'absolute paths without colons'],
  ])('refuse %s', (_, user, words) => {
    expect(() => planAccounts(TEXTS, { groups: [], users: [user], today: 1 })).toThrow(words);
  });
});

describe('sshd', () => {
  it('takes variables for all connections, and each pattern once', () => {
    expect(withAcceptEnv('Port 22\nMatch User x\n  X11Forwarding no\n', ['*'])).toBe(
      'Port 22\nAcceptEnv *\nMatch User x\n  X11Forwarding no\n',
    );
    expect(withAcceptEnv('Port 22', ['CI'])).toBe('Port 22\nAcceptEnv CI\n');
    expect(withAcceptEnv('acceptenv LANG LC_*\n', ['LANG'])).toBe('acceptenv LANG LC_*\n');
    expect(withAcceptEnv('#AcceptEnv *\n', ['*'])).toBe('#AcceptEnv *\nAcceptEnv *\n');
  });
});

const FACTS: RootFacts = {
  shell: '/bin/bash',
  sshdConfig: undefined,
  issue: 'Debian \\n \\l\n',
  issueNet: undefined,
  hosts: '127.0.0.1\tlocalhost\n127.0.1.1\told\n',
  has: {
    agetty: true,
    systemd: true,
    ifUp: false,
    sudoers: true,
    apt: true,
    dnf: false,
    yum: false,
    pacman: false,
    apk: false,
    zypper: false,
  },
};

describe('banners', () => {
  const textOf = (facts: RootFacts, path: string): string | undefined =>
    planEdits({ issueBanner: true, interfaces: ['eth0'] }, facts).edits.flatMap((edit) =>
      edit.kind === 'file' && edit.path === path ? [edit.text] : [],
    )[0];

  it('have agetty’s escapes on consoles, and a script for what does not know them', () => {
    expect(textOf(FACTS, '/etc/issue')).toBe(
      'Debian \\n \\l\n\\S{NAME} \\S{VERSION_ID} \\n \\l ; Current IP(s): \\4{eth0} \\6{eth0}\n',
    );
    expect(textOf(FACTS, '/etc/issue.net')).toBe('Current IP(s):\n');
    expect(textOf(FACTS, '/usr/local/sbin/nestling-issue')).toContain('for file in /etc/issue.net; do');
    expect(textOf({ ...FACTS, has: { ...FACTS.has, agetty: false } }, '/usr/local/sbin/nestling-issue')).toContain(
      '/etc/issue /etc/issue.net',
    );
  });

  it('are not said twice', () => {
    const again = textOf({ ...FACTS, issue: textOf(FACTS, '/etc/issue') }, '/etc/issue');
    expect(again).toBe(textOf(FACTS, '/etc/issue'));
  });

  it('tell when nothing starts the script', () => {
    const { notes } = planEdits({ issueBanner: true }, { ...FACTS, has: { ...FACTS.has, systemd: false } });
    expect(notes).toEqual([expect.stringContaining('nothing in this root starts')]);
  });
});

describe('the rest', () => {
  it('is the name, its address, resolvers and rules', () => {
    const { edits } = planEdits({ hostname: 'box.lan', nameservers: ['10.0.3.1'], sudo: ['abuild'] }, FACTS);
    expect(edits).toEqual([
      { kind: 'file', path: '/etc/sudoers.d/nestling-abuild', text: 'abuild ALL=(ALL) NOPASSWD: ALL\n', mode: 0o440 },
      { kind: 'file', path: '/etc/hostname', text: 'box.lan\n', mode: 0o644 },
      { kind: 'file', path: '/etc/hosts', text: '127.0.0.1\tlocalhost\n127.0.1.1\tbox.lan box\n', mode: 0o644 },
      { kind: 'file', path: '/etc/resolv.conf', text: 'nameserver 10.0.3.1\n', mode: 0o644 },
    ]);
  });

  it('says what does not fit this root', () => {
    expect(
      planEdits({ acceptEnv: ['*'], sudo: ['x'] }, { ...FACTS, has: { ...FACTS.has, sudoers: false } }).notes,
    ).toHaveLength(2);
    expect(() => planEdits({ sudo: ['x ALL=(ALL) ALL\ny'] }, FACTS)).toThrow('is no name of a user');
    expect(() => planEdits({ hostname: '-x' }, FACTS)).toThrow('is no host name');
    expect(() => planPackages(['bash'], { ...FACTS.has, apt: false })).toThrow('no package manager');
    expect(planPackages(['bash', 'sudo'], FACTS.has)[1]).toEqual([
      'apt-get',
      '-q',
      '-y',
      '--no-install-recommends',
      'install',
      'bash',
      'sudo',
    ]);
  });
});

describe('paths inside a root', () => {
  const root = join(scratch, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  mkdirSync(join(root, 'real'));
  writeFileSync(join(root, 'etc/file'), '');
  for (const [link, target] of [
    ['etc/up', '../../../../../../etc'],
    ['etc/absolute', '/real'],
    ['circle', 'circle'],
    ['etc/chain', 'absolute/x'],
  ] as const) {
    symlinkSync(target, join(root, link));
  }

  it.each([
    ['/etc/up/passwd', 'etc/passwd'],
    ['/etc/absolute/new', 'real/new'],
    ['/etc/chain', 'real/x'],
    ['../../x', 'x'],
    ['/etc/./../etc/file', 'etc/file'],
    ['/not/there/yet', 'not/there/yet'],
  ])('%s is %s', (path, inside) => {
    expect(resolveInRoot(root, path)).toBe(join(root, inside));
  });

  it('never lead out, whatever they are', () => {
    const part = fc.constantFrom('etc', 'up', 'absolute', 'chain', '..', '.', 'real', 'new', '');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const resolved = resolveInRoot(root, parts.join('/'));
        return resolved === root || resolved.startsWith(`${root}/`);
      }),
    );
  });

  it('end at circles and at files', () => {
    expect(() => resolveInRoot(root, '/circle')).toThrow('a circle of symbolic links');
    expect(() => resolveInRoot(root, '/etc/file/x')).toThrow('which is no folder');
  });
});
