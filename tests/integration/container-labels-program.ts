/** Runs in a guest whose kernel has AppArmor: containers below a profile, without one, and with one that nobody has loaded. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../src/index.ts';
import { makeBusyboxRoot, shellContainer } from '../support/busybox-root.ts';
import { pollUntil } from '../support/poll.ts';

/** All but one file, and mounts. */
const PROFILE = `profile nestling-boxes flags=(attach_disconnected,mediate_deleted) {
  capability,
  network,
  signal,
  unix,
  ptrace,
  umount,
  file,
  /** rwlkmix,
  deny /etc/secret rw,
  deny mount,
}
`;
const WAITING = 'while :; do sleep 1; done';
const SECURITYFS = '/sys/kernel/security';
/** What it is, and may do. */
const LOOK =
  'cat /proc/self/attr/current; cat /etc/motd; cat /etc/secret 2>&1; mount -t tmpfs none /tmp 2>/dev/null && echo mounted; true';

const folder = mkdtempSync(join(tmpdir(), 'nt-labels-'));
try {
  execFileSync('mount', ['-t', 'securityfs', 'none', SECURITYFS]);
  writeFileSync(join(folder, 'profile'), PROFILE);
  execFileSync('apparmor_parser', ['--replace', '--skip-cache', join(folder, 'profile')], { stdio: 'pipe' });
  const root = makeBusyboxRoot(folder);
  writeFileSync(join(root, 'etc/motd'), 'hello\n');
  writeFileSync(join(root, 'etc/secret'), 'told\n');
  await using connection = await connect('lxc:///embed');
  const label = (name: string): string =>
    `<seclabel type='static' model='apparmor' relabel='no'><label>${name}</label></seclabel>`;
  const start = async (name: string, rest: string, line: string) =>
    await connection.createDomain(shellContainer(name, { root, line, rest }));
  const confined = await start('confined', label('nestling-boxes'), `(${LOOK}) >/seen; touch /done; ${WAITING}`);
  const executed = String((await confined.exec(['sh', '-c', LOOK])).stdout);
  await pollUntil(() => existsSync(join(root, 'done')), 'its first program does nothing');
  const first = readFileSync(join(root, 'seen'), 'utf8');
  const labels = await confined.securityLabels();
  await confined.destroy();
  const free = await start('free', '', WAITING);
  const unconfined = String((await free.exec(['sh', '-c', LOOK])).stdout);
  await free.destroy();
  const unknown = await start('unknown', label('nobodys'), WAITING).then(
    () => 'started',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  const model = /<secmodel>\s*<model>(\w+)/.exec(await connection.capabilities())?.[1];
  process.stdout.write(JSON.stringify({ model, first, executed, labels, unconfined, unknown }));
} finally {
  execFileSync('umount', [SECURITYFS]);
  rmSync(folder, { recursive: true, force: true });
}
