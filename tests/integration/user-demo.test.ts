/** `./dev demo` as a newcomer meets it: the guest from its XML to the timeline, and what is said where something is missing. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const BUILT = existsSync(join(REPOSITORY, 'dist/cli.cjs'));
if (!BUILT) process.stderr.write('WARNING: there is no dist/: the demo is not tested; ./dev build\n');

it.skipIf(!BUILT)('boots Linux, shows its console, powers off and prints the timeline', () => {
  const run = spawnSync('bash', ['demo/run.sh', 'echo from-the-guest $((6 * 7))'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 110_000,
  });
  expect(run.status, run.stderr).toBe(0);
  expect(run.stdout).toContain('nestling guest ready\r\nfrom-the-guest 42\r\n');
  expect(run.stdout).toContain('reboot: Power down');
  for (const moment of ['XML parsed', 'capabilities known', 'QEMU spawned', 'monitor ready', 'first guest byte'])
    expect(run.stderr).toMatch(new RegExp(`^ {2}${moment} +\\d+\\.\\d +\\+\\d+\\.\\d$`, 'm'));
  expect(run.stderr).toMatch(/^ {2}guest exit .*\n {2}clean-up done .*\n$/m);
});

it('without root and with packages missing: one line that names them', () => {
  const programs = mkdtempSync(join(tmpdir(), 'no-root-'));
  try {
    // A user without sudo on a machine where dpkg knows of busybox only.
    const fakes = { id: 'echo 1000', sudo: 'exit 1', 'dpkg-query': "printf 'installed:busybox-static '" };
    for (const [name, body] of Object.entries(fakes)) {
      writeFileSync(join(programs, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(programs, name), 0o755);
    }
    const run = spawnSync('bash', ['./dev', 'setup', '--for', 'demo'], {
      cwd: REPOSITORY,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${programs}:${process.env['PATH'] ?? ''}` },
    });
    expect(run.status).toBe(1);
    const packages = 'qemu-system-x86 qemu-utils util-linux xz-utils';
    expect(run.stderr).toBe(
      `./dev: missing packages: ${packages}; as root: apt-get install --no-install-recommends ${packages}\n`,
    );
  } finally {
    rmSync(programs, { recursive: true, force: true });
  }
});
