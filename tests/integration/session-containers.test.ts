/** Containers of users without root: embedded ones, of `nestling run`, and a session daemon's, with subordinate ids and without. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planForeign, readBinfmtFacts } from '../../src/host/binfmt.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { machineProgram } from '../support/arm64-program.ts';
import { bundleScript } from '../support/bundle.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { freePort } from '../support/free-port.ts';
import { giveToTestUser, makeTestUser, TEST_USER, type TestUser } from '../support/test-user.ts';

const run = promisify(execFile);
const { uid, firstSubId, subIds } = TEST_USER;
const canEmulate = planForeign('aarch64', readBinfmtFacts()).kind === 'private';
let program = '';
const folders: string[] = [];

beforeAll(async () => {
  program = await bundleScript(fileURLToPath(new URL('session-containers-program.ts', import.meta.url)));
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

describe.runIf(canRunContainers())('a user without root', () => {
  it('has containers, and is told what is root’s', async () => {
    const { user, root, folder } = makeUser({ subordinate: false });
    const seen = await ask(user, [root, root, '0', '0', foreignRoot(folder)]);
    expect(seen).toMatchObject({
      uid,
      map: `0 ${uid} 1\n0\n=7=`,
      devices: '4\nmknod: /tmp/n: Operation not permitted\ngiven\n=0=',
      private: '1\nlo\n/sys/fs/cgroup\n=0=',
      shared: 'touch: /mnt/made: Read-only file system\n=0=',
      terminals: 'written\n=0=',
      life: { sees: true, suspended: [3, 'T'], exec: [4, '0'], memory: true, stop: ['shutdown', 5] },
      ...(canEmulate ? { foreign: 9 } : {}),
    });
    const refusals = {
      image: /type='file'> .* is root's to have.*put its files into a directory.* or use sudo, or a daemon of root's/,
      block: /type='block'> .* is root's to have/,
      bridge: /type='bridge'> is root's to have.*: use <interface type='user'>/,
      network: /type='network'> is root's to have/,
      direct: /type='direct'> is root's to have/,
      net: /<hostdev type='net'> is root's to have/,
      limits: /<memtune>, <cputune>: limits are kept in a cgroup.*systemd-run --user/,
      ids: /uids 5000-5009 of the host, user nestling-test may use 61234; install uidmap, and as root: usermod/,
      user: /<inituser> is '1000', but a container of user nestling-test has root alone: install uidmap/,
    };
    for (const [name, message] of Object.entries(refusals)) expect(seen[`refused ${name}`], name).toMatch(message);
  });

  it('has its subordinate ids in them, and roots that belong to those', async (context) => {
    context.skip(!has('newuidmap', 'uidmap'));
    const { user, root, folder } = makeUser({ subordinate: true });
    const shifted = makeBusyboxRoot(join(folder, 'shifted'));
    giveToTestUser(shifted, firstSubId + 7);
    const seen = await ask(user, [root, shifted, String(firstSubId + 7), '0', foreignRoot(folder)]);
    // As the namespace around the runtime numbers them: the first of them is 1.
    const inside = (count: number) => `0\n0 8 ${count}\n0\n0\n=0=`;
    expect(seen).toMatchObject({
      map: `0 ${uid} 1\n1 ${firstSubId} ${subIds}\n0\n=7=`,
      mapped: inside(1000),
      implied: inside(subIds - 7),
      'mapped private': '0\n1\n=0=',
      'refused user': '=0=',
      ...(canEmulate ? { foreign: 9 } : {}),
      'refused ids': expect.stringMatching(
        /may use 61234, 1061234-1126769; name others, or as root: usermod --add-subuids/,
      ),
    });
    expect(statSync(join(shifted, 'tmp/made')).uid).toBe(firstSubId + 7);
    expect(statSync(join(root, 'tmp/made')).uid).toBe(uid);
  });

  it('connects them by slirp4netns, with ports of the host', async (context) => {
    context.skip(!has('slirp4netns', 'slirp4netns'));
    const { user, root } = makeUser({ subordinate: false });
    const seen = await ask(user, [root, root, '0', String(await freePort())]);
    expect(seen['network']).toEqual(['10.9.8.100/24', '']);
  });
});

function has(command: string, name: string): boolean {
  if (lookUpProgram(command) !== undefined) return true;
  process.stderr.write(`\nSKIPPED: this takes ${command} (package ${name})\n\n`);
  return false;
}

async function ask(user: TestUser, args: readonly string[]): Promise<Record<string, unknown>> {
  const [command, ...rest] = user.words([process.execPath, program, ...args]);
  const { stdout } = await run(command, rest, { env: user.env });
  return JSON.parse(stdout) as Record<string, unknown>;
}

function makeUser(ids: { subordinate: boolean }): { user: TestUser; root: string; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'session-'));
  folders.push(folder);
  const user = makeTestUser(folder, ids);
  const root = makeBusyboxRoot(folder);
  giveToTestUser(root);
  return { user, root, folder };
}

/** Of arm64 programs; empty where this host cannot run them without being told to. */
function foreignRoot(folder: string): string {
  if (!canEmulate) return '';
  const root = join(folder, 'arm64');
  for (const dir of ['bin', 'proc', 'sys', 'dev']) mkdirSync(join(root, dir), { recursive: true });
  writeFileSync(join(root, 'bin/first'), machineProgram({ length: 'aarch64'.length, status: 1, next: '/bin/second' }), {
    mode: 0o755,
  });
  writeFileSync(join(root, 'bin/second'), machineProgram({ length: 'aarch64'.length, status: 9 }), { mode: 0o755 });
  giveToTestUser(root);
  return root;
}
