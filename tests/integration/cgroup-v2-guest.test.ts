import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ProgramGuest } from '../support/guests/program-guest.ts';
import { startV2Guest } from '../support/guests/v2-guest.ts';
let guest: ProgramGuest;
let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'v2-'));
  console.time('boot');
  guest = await startV2Guest({ name: 'v2', directory, programs: [new URL('cgroup-v2-program.ts', import.meta.url)] });
  console.timeEnd('boot');
});
afterAll(async () => {
  console.time('off');
  await guest?.[Symbol.asyncDispose]();
  console.timeEnd('off');
  rmSync(directory, { recursive: true, force: true });
});
it('x', async () => {
  for (const c of ['uname -a; cat /proc/cmdline; cat /sys/fs/cgroup/cgroup.controllers; ls /sys/fs/cgroup', 'time node -e 1', 'time node -e 1', 'time node /programs/cgroup-v2-program.mjs', 'time node /programs/cgroup-v2-program.mjs', 'time box a node /programs/cgroup-v2-program.mjs', 'time box -f b cat /sys/fs/cgroup/cgroup.procs /proc/self/cgroup; ls -d /sys/fs/cgroup/*/', 'time qemu-system-x86_64 --version', 'time qemu-system-x86_64 --version', 'df; free']) {
    console.time(c);
    console.log(await guest.run(c));
    console.timeEnd(c);
  }
});
