/**
 * systemd as it really is: a guest that it runs, with machined and D-Bus. What is found out there, what a delegated scope may do, that what we
 * start stays in its caller's scope, and that with `cgroup_layout = "systemd"` a guest has one of its own, named as libvirt's. One boot for all
 * tests; the programs that run inside are `systemd-guest-program.ts` and `systemd-scope-program.ts`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { GUEST_TIMEOUTS, type ProgramGuest } from '../support/guests/program-guest.ts';
import { startSystemdGuest, whyNoSystemdGuest } from '../support/guests/systemd-guest.ts';

const PROGRAM = 'systemd-guest-program';
const SCOPES = 'systemd-scope-program';
const UNIT = 'machine-qemu\\x2d1\\x2dweb.scope';
const EMBEDDED = /^machine-qemu\\x2dembed\\x2d[0-9a-f]{8}\\x2d1\\x2dweb\.scope$/;
const SCOPE = /^0::\/system\.slice\/run-r[0-9a-f]+\.scope$/;

const why = whyNoSystemdGuest();
if (why !== undefined) process.stderr.write(`\nSKIPPED: systemd in a guest: ${why}\n\n`);

vi.setConfig(GUEST_TIMEOUTS);

let guest: ProgramGuest | undefined;
let directory: string | undefined;
beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'systemd-'));
  guest = await startSystemdGuest({
    name: 'systemd',
    directory,
    programs: [PROGRAM, SCOPES, '../../src/cli/main'].map((name) => new URL(`${name}.ts`, import.meta.url)),
    files: { 'halt.img': readFileSync(await bootSectorImage('halt')) },
  });
});
afterAll(async () => {
  await guest?.[Symbol.asyncDispose]();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

async function run(scenario: string, prefix = ''): Promise<unknown> {
  return await guest?.runProgram(PROGRAM, [scenario], prefix);
}

describe.skipIf(why !== undefined)('under systemd', () => {
  it('a service is found to be one, with what systemd gives it', async () => {
    expect(await run('detect')).toMatchObject({
      mode: 'v2',
      namespace: 'host',
      systemd: true,
      type: 'domain',
      delegation: 'none',
      ownPath: '/system.slice/nestling-session.service',
    });
  });

  it('a scope with Delegate= is found to be delegated, and has all controllers', async () => {
    expect(await run('detect', 'systemd-run --scope -q -p Delegate=yes')).toMatchObject({
      systemd: true,
      delegation: 'systemd',
      processes: 1,
      ownPath: expect.stringMatching(/^\/system\.slice\/run-r.*\.scope$/),
      controllers: expect.arrayContaining(['cpu', 'cpuset', 'io', 'memory', 'pids']),
    });
  });

  it('a delegated scope limits its guests by itself, and is as it was afterwards', async () => {
    const seen = (await run('delegated', 'systemd-run --scope -q -p Delegate=yes')) as Record<string, string>;
    expect(seen).toMatchObject({
      scope: expect.stringMatching(SCOPE),
      back: seen['scope'],
      child: `${seen['scope']}/guest`,
      signal: 'SIGKILL',
    });
  });

  it('children and guests stay in the scope of their program, with its affinity, niceness and limits', async () => {
    const prefix = 'ulimit -n 777; systemd-run --scope -q --nice=5 taskset -c 1';
    const seen = (await run('context', prefix)) as Record<string, Record<string, string>>;
    expect(seen['own']).toMatchObject({
      cgroup: expect.stringMatching(SCOPE),
      cpus: '1',
      nice: '5',
      openFiles: expect.stringMatching(/^777\s+777$/),
    });
    expect(seen['child']).toEqual(seen['own']);
    expect(seen['qemu']).toEqual(seen['own']);
    expect(seen['threads']).toEqual([seen['own']?.['cgroup']]);
  });

  it('a scope is made through machined, limited, and gone after its end', async () => {
    expect(await guest?.runProgram(SCOPES, ['scope'])).toEqual({ ...SCOPE_SEEN, ...MACHINED_SEEN });
    expect(await guest?.runProgram(SCOPES, ['ended'])).toEqual({ listed: '', machines: '' });
  });

  it('slices are partitions: made, limited, listed, removed', async () => {
    expect(await guest?.runProgram(SCOPES, ['partition'])).toMatchObject({
      shown: { MemoryMax: '67108864', TasksMax: '50', ActiveState: 'active' },
      tree: {
        partition: '/production',
        path: '/production.slice',
        children: [
          {
            partition: '/production/my-web',
            path: '/production.slice/production-my\\x2dweb.slice',
            limits: { memory: { hardLimitKiB: 65_536 }, cpu: { quotaUs: 50_000 }, pids: { max: 50 } },
          },
        ],
      },
      busy: expect.stringMatching(/EBUSY.*machine-qemu.*end the guests/),
      guests: ['big'],
      signal: 'SIGKILL',
      cpuMax: '50000 100000',
      gone: expect.stringMatching(/no such slice/),
      fresh: { MemoryMax: 'infinity' },
      left: expect.not.arrayContaining(['/production']),
    });
  });

  it('nestling partition changes slices', async () => {
    const nestling = async (args: string): Promise<string> => {
      const { status, stdout, stderr } = (await guest?.run(`node /programs/main.mjs partition ${args}`)) ?? {};
      expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: '' });
      return stdout ?? '';
    };
    expect(await nestling('create /ci/web --memory 64M --cpus 0.5 --dry-run')).toBe(
      'systemctl start ci-web.slice\nsystemctl set-property --runtime ci-web.slice MemoryMax=67108864 CPUQuota=50%\n',
    );
    await nestling('create /ci/web --memory 64M --cpus 0.5');
    await nestling('set /ci/web --pids 20');
    expect(await nestling('tree /ci')).toMatch(
      /^\/ci  \(.*\)\n {2}web  \(memory at most 64 MiB, 0.5 CPUs, .*at most 20 processes/,
    );
    expect(await nestling('list')).toContain('/ci\n/ci/web\n');
    await nestling('rm /ci/web /ci');
    expect(await nestling('list')).not.toContain('/ci');
  });

  it('a guest has its scope with cgroup_layout = "systemd", and nothing is left of it', async () => {
    const seen = (await guest?.runProgram(SCOPES, ['guest'])) as Record<string, string>;
    const scope = `/machine.slice/machine-testing.slice/${seen['unit']}`;
    expect(seen).toMatchObject({
      before: '',
      unit: expect.stringMatching(EMBEDDED),
      cgroup: `${scope}/libvirt/emulator`,
      threads: expect.arrayContaining([
        `${scope}/libvirt/emulator`,
        `${scope}/libvirt/vcpu0`,
        `${scope}/libvirt/vcpu1`,
      ]),
      shown: { Slice: 'machine-testing.slice', CPUWeight: '70', Delegate: 'yes' },
      memory: [String(400 * 1024 * 1024), 'max'],
      vcpu: '20000 100000',
      pins: '1',
      parameters: { cpu_shares: 70, vcpu_quota: 20_000 },
      machines: expect.stringContaining('libvirt-qemu'),
      after: '',
      machinesAfter: '',
    });
  });

  it('nothing is left of a guest whose program was killed', async () => {
    expect(await guest?.runProgram(SCOPES, ['crash'])).toEqual({ isHeld: true, machines: '', notes: [] });
  });

  it('a guest of a daemon keeps its scope when the daemon is killed, and the next one has it', async () => {
    expect(await guest?.runProgram(SCOPES, ['daemon'])).toEqual({
      isKept: true,
      shown: { MemoryMax: String(300 * 1024 * 1024), ActiveState: 'active' },
      quota: 20_000,
      changed: { MemoryMax: String(200 * 1024 * 1024) },
      isCounted: true,
      after: '',
      machines: '',
    });
  });

  it("a user's scopes are the user's own systemd's", async () => {
    const runtime = '/run/user/1000';
    // What logging in does, of which this small system has not all parts.
    const manager = `systemd-run --unit=manager --uid=1000 --gid=1000 -p Delegate=yes -p Type=notify -E XDG_RUNTIME_DIR=${runtime}`;
    const made = await guest?.run(
      `useradd -m tester && install -d -m 700 -o tester -g tester ${runtime} && ${manager} /lib/systemd/systemd --user`,
    );
    expect(made).toMatchObject({ status: 0 });
    const prefix = `setpriv --reuid 1000 --regid 1000 --clear-groups env HOME=/home/tester XDG_RUNTIME_DIR=${runtime}`;
    const controlGroup = `/system.slice/manager.service${CONTROL_GROUP}`;
    expect(await guest?.runProgram(SCOPES, ['scope'], prefix)).toMatchObject({
      ...SCOPE_SEEN,
      cgroup: controlGroup,
      scope: { unit: UNIT, controlGroup },
      left: { listed: '', machines: '' },
    });
    expect(await guest?.runProgram(SCOPES, ['guest'], prefix)).toMatchObject({
      cgroup: expect.stringMatching(
        /^\/system\.slice\/manager\.service\/machine\.slice\/.*\.scope\/libvirt\/emulator$/,
      ),
      vcpu: '20000 100000',
      memory: [String(400 * 1024 * 1024), 'max'],
      after: '',
    });
    await guest?.run('systemctl stop manager.service');
  });

  it('a guest with a partition is in its slice, whatever the layout', async () => {
    expect(await guest?.runProgram(SCOPES, ['inherit'])).toEqual({
      cgroup: expect.stringMatching(
        /^\/machine\.slice\/machine-other\.slice\/machine-qemu.*part\.scope\/libvirt\/emulator$/,
      ),
    });
  });

  it('without machined systemd itself makes the same scope', async () => {
    const masked = await guest?.run('systemctl mask --now --runtime systemd-machined.service');
    expect(masked).toMatchObject({ status: 0 });
    expect(await guest?.runProgram(SCOPES, ['scope'])).toEqual({ ...SCOPE_SEEN, ...UNMANAGED_SEEN });
    expect(await guest?.runProgram(SCOPES, ['ended'])).toEqual({ listed: '', machines: 'no machined' });
    expect(await guest?.runProgram(SCOPES, ['guest'])).toMatchObject({ after: '', machinesAfter: 'no machined' });
  });

  it("without a bus it is systemd's own socket", async () => {
    await guest?.run('systemctl stop dbus.socket dbus.service');
    expect(await guest?.runProgram(SCOPES, ['scope'])).toEqual({ ...SCOPE_SEEN, ...UNMANAGED_SEEN });
  });
});

const CONTROL_GROUP = `/machine.slice/machine-testing.slice/${UNIT}`;

/** What a scope of the program's first scenario looks like, whoever made it. */
const SCOPE_SEEN = {
  cgroup: CONTROL_GROUP,
  shown: {
    Slice: 'machine-testing.slice',
    MemoryMax: String(32 * 1024 * 1024),
    CPUWeight: '50',
    Delegate: 'yes',
    TasksMax: '16384',
    Description: 'Virtual Machine qemu-1-web',
  },
  memoryMax: String(32 * 1024 * 1024),
  listed: UNIT,
  changed: String(16 * 1024 * 1024),
  reloaded: String(16 * 1024 * 1024),
  signal: 'SIGTERM',
};

const MACHINED_SEEN = {
  scope: { unit: UNIT, machine: 'qemu-1-web', controlGroup: CONTROL_GROUP },
  machines: expect.stringMatching(/^qemu-1-web vm libvirt-qemu/),
  again: expect.stringMatching(/^SystemdError: cannot create scope .*machine1\.MachineExists/),
  left: { listed: '', machines: '' },
};

const UNMANAGED_SEEN = {
  scope: { unit: UNIT, controlGroup: CONTROL_GROUP },
  machines: 'no machined',
  again: expect.stringMatching(/^SystemdError: cannot create scope .*systemd1\.UnitExists/),
  left: { listed: '', machines: 'no machined' },
};
