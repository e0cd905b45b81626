/**
 * A user without rights, for commands of tests: known by name, and with subordinate ids where asked for, in a private mount namespace only. The
 * host's own /etc stays as it is.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const TEST_USER = {
  name: 'nestling-test',
  uid: 61_234,
  gid: 61_234,
  firstSubId: 1_061_234,
  subIds: 65_536,
} as const;

export interface TestUser {
  /** Its own, and nobody else's. */
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  /** A command and its arguments that run `command` as that user. */
  words(command: readonly string[]): [string, ...string[]];
}

/** `folder`: of the test's, and open to all who look for it. */
export function makeTestUser(folder: string, { subordinate = true } = {}): TestUser {
  const { name, uid, gid, firstSubId, subIds } = TEST_USER;
  for (const dir of [tmpdir(), folder]) chmodSync(dir, 0o711);
  const home = join(folder, 'home');
  const run = join(home, 'run');
  for (const dir of [home, run]) {
    mkdirSync(dir, { mode: 0o700 });
    chownSync(dir, uid, gid);
  }
  const etc = join(folder, 'etc');
  mkdirSync(etc);
  const passwd = `${readFileSync('/etc/passwd', 'utf8').trim()}\n${name}:x:${uid}:${gid}::${home}:/bin/sh\n`;
  writeFileSync(join(etc, 'passwd'), passwd);
  const ids = subordinate ? `${name}:${firstSubId}:${subIds}\n` : '';
  for (const file of ['subuid', 'subgid']) writeFileSync(join(etc, file), ids);
  // Where udev runs, everybody may open it.
  const tun = `mknod '${etc}/tun' c 10 200 && chmod 666 '${etc}/tun' && mount --bind '${etc}/tun' /dev/net/tun`;
  const bind = ['passwd', 'subuid', 'subgid']
    .map((file) => `{ [ -e /etc/${file} ] || : >/etc/${file}; } && mount --bind '${etc}/${file}' /etc/${file}`)
    .join(' && ');
  return {
    home,
    env: {
      PATH: process.env['PATH'],
      HOME: home,
      TMPDIR: home,
      XDG_RUNTIME_DIR: run,
      LANG: 'C.UTF-8',
      // Whose processes these are, for those who look for leaks.
      NESTLING_TEST_RUN: process.env['NESTLING_TEST_RUN'],
    },
    words: (command) => [
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      `${bind} && { [ ! -e /dev/net/tun ] || [ -e '${etc}/tun' ] || { ${tun}; }; } && exec "$@"`,
      'sh',
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      '--clear-groups',
      '--',
      ...command,
    ],
  };
}

/** All of a tree; `id`: of one of its subordinate users. */
export function giveToTestUser(root: string, id: number = TEST_USER.uid): void {
  const { status, stderr } = spawnSync('chown', ['-Rh', `${id}:${id}`, root], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
