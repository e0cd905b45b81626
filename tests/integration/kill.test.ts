/**
 * SIGKILL of the embedding process at random moments before, during and after a guest's start: no process is left after
 * a second, and the next collection leaves no file, socket or directory.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareRuntimeDir } from '../../src/core/fs-runtime-dir.ts';
import { collectGarbage } from '../../src/core/ledger-gc.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { bundleScript } from '../support/bundle.ts';
import { domainXml } from '../support/domain-xml.ts';
import { ForeignThings } from '../support/foreign-things.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { StreamText } from '../support/until.ts';

const KILLS = 200;
const AT_ONCE = 4;
const STRAY_PATIENCE_MS = 20_000;
/** Half of the kills count from the program's own start, half from the moment when it is connected and about to start a guest. */
const LATEST_MS = { start: 700, connected: 250 };
/** From the program's start until its guest runs, on an idle machine. */
const IDLE_START_MS = 350;

let scratch: string;
let script: string;
beforeAll(async () => {
  // One marker that stands in every path and name of these guests.
  scratch = mkdtempSync(join(tmpdir(), 'kill-'));
  script = await bundleScript(new URL('kill-parent.ts', import.meta.url).pathname);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Living processes whose command line holds the marker. */
function processesOf(marker: string): string[] {
  return listProcesses()
    .filter(({ pid, gone }) => !gone && pid !== process.pid)
    .flatMap(({ pid }) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(marker) ? [`${pid} ${command.slice(0, 120)}`] : [];
      } catch {
        // Gone between the two looks.
        return [];
      }
    });
}

/** A third of the guests has an emulated TPM, another third a shared directory: helper processes of their own. */
async function guestXml(index: number, dir: string): Promise<string> {
  const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
  const share = `<filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/></binary><source dir='${dir}'/><target dir='share'/></filesystem>`;
  return domainXml({
    name: `kill-n${index}-x`,
    disks: [{ path: await bootSectorImage('halt'), readonly: true }],
    devices: [tpm, share, ''][index % 3] ?? '',
    extra: "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
  });
}

/** What swtpm_setup leaves where nobody told it to put its files elsewhere. */
function strayFiles(): string[] {
  return readdirSync('/tmp').filter((name) => name.startsWith('swtpm_setup'));
}

/** Another program's swtpm_setup, of which this knows nothing, removes its own when it has done: what stays was left by one that was killed. */
async function lastingStrays(before: readonly string[]): Promise<string[]> {
  const deadline = performance.now() + STRAY_PATIENCE_MS;
  let fresh = strayFiles().filter((name) => !before.includes(name));
  while (fresh.length > 0 && performance.now() < deadline) {
    await pause(50);
    const now = strayFiles();
    fresh = fresh.filter((name) => now.includes(name));
  }
  return fresh;
}

interface Moment {
  readonly index: number;
  readonly from: keyof typeof LATEST_MS;
  readonly delayMs: number;
}

/** How much longer a start takes here and now than on an idle machine, so that the moments are spread over all of it. */
async function measureSlowness(): Promise<number> {
  const xml = join(scratch, 'measure.xml');
  writeFileSync(xml, await guestXml(2, scratch));
  const startedAt = performance.now();
  const parent = spawn(process.execPath, [script, xml], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(parent, 'exit');
  await new StreamText(parent.stdout).until('running');
  const tookMs = performance.now() - startedAt;
  parent.kill('SIGKILL');
  await exited;
  rmSync(xml);
  return Math.max(1, tookMs / IDLE_START_MS);
}

async function killAt({ index, from, delayMs }: Moment): Promise<string> {
  const dir = join(scratch, `n${index}`);
  mkdirSync(dir);
  const xml = join(dir, 'guest.xml');
  writeFileSync(xml, await guestXml(index, dir));
  const parent = spawn(process.execPath, [script, xml], {
    env: { ...process.env, TMPDIR: dir },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let reached = 'nothing';
  let errors = '';
  let sayConnected: () => void = () => {};
  const connected = new Promise<void>((resolve) => {
    sayConnected = resolve;
  });
  parent.stdout.on('data', (chunk: Buffer) => {
    reached = chunk.toString().trim().split('\n').at(-1) ?? reached;
    if (reached !== 'started') sayConnected();
  });
  parent.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const exited = new Promise<NodeJS.Signals | null>((resolve) => parent.once('exit', (_, signal) => resolve(signal)));
  if (from === 'connected') await connected;
  await pause(delayMs);
  parent.kill('SIGKILL');
  expect(await exited, errors).toBe('SIGKILL');
  const deadline = performance.now() + 1000;
  while (
    performance.now() < deadline &&
    (processesOf(`kill-n${index}-x`).length > 0 || processesOf(`${dir}/`).length > 0)
  )
    await pause(5);
  expect([...processesOf(`kill-n${index}-x`), ...processesOf(`${dir}/`)]).toEqual([]);
  return reached;
}

describe('SIGKILL of the embedding process', () => {
  it(`leaves nothing, at ${KILLS} random moments`, { timeout: 600_000 }, async () => {
    const runtimeDir = prepareRuntimeDir();
    const before = new Set(readdirSync(runtimeDir));
    const strays = strayFiles();
    const slowness = await measureSlowness();
    const moments = Array.from({ length: KILLS }, (_, index): Moment => {
      const from = index % 2 === 0 ? 'start' : 'connected';
      // Making a TPM takes most of a second before QEMU is started.
      const latestMs = slowness * (LATEST_MS[from] + (index % 3 === 0 ? 800 : 0));
      return { index, from, delayMs: Math.random() * latestMs };
    });
    const reached = new Map<string, number>();
    const worker = async (): Promise<void> => {
      for (let next = moments.pop(); next !== undefined; next = moments.pop()) {
        const stage = await killAt(next);
        reached.set(stage, (reached.get(stage) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    // The moments really were before, during and after the start.
    process.stdout.write(`killed at: ${JSON.stringify(Object.fromEntries(reached))}\n`);
    for (const stage of ['connected', 'running']) expect(reached.get(stage) ?? 0).toBeGreaterThan(5);

    const report = await collectGarbage({ dir: join(runtimeDir, 'ledger') });
    expect(report.failed).toEqual([]);
    const fresh = readdirSync(runtimeDir).filter((name) => !before.has(name) && name !== 'ledger');
    const foreign = new ForeignThings({ proc: '/proc', ledgerDirs: [join(runtimeDir, 'ledger')], isOurs: () => false });
    // Theirs whose owner has just ended is gone before its ledger.
    const left = fresh.filter(
      (name) => !foreign.includes(join(runtimeDir, name)) && existsSync(join(runtimeDir, name)),
    );
    expect(left).toEqual([]);
    expect(await lastingStrays(strays)).toEqual([]);
    const files = readdirSync(scratch).flatMap((dir) =>
      readdirSync(join(scratch, dir)).map((file) => `${dir}/${file}`),
    );
    expect(files.filter((file) => !file.endsWith('/guest.xml'))).toEqual([]);
  });
});
