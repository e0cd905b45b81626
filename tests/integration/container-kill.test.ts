/**
 * SIGKILL at random moments of containers' starts, lives and ends: of the program that embeds them, of `nestling run`, of the runtime and of
 * conmon. Afterwards nothing runs, no loop device is taken, and the next start leaves no group, interface or file.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prepareRuntimeDir } from '../../src/core/fs-runtime-dir.ts';
import { type Connection, connect, ErrorCode, VirtError } from '../../src/index.ts';
import { listDescendants, listProcesses } from '../../src/process/proc.ts';
import { bundleScript } from '../support/bundle.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { commandOf } from '../support/command-of.ts';
import { startDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const CALLERS = 24;
const RUNS = 9;
const RUNTIMES = 12;
const AT_ONCE = 3;
/** From a caller's first word: several starts and ends, on an idle machine. */
const LATEST_MS = 400;
/** From the beginning of a start until well after it. */
const LATEST_IN_START_MS = 120;

describe.skipIf(!canRunContainers())('after SIGKILL', () => {
  let folder = '';
  let rootfs = '';
  let script = '';

  beforeAll(async () => {
    // Stands in all paths of these containers, and in their names and so in their groups'.
    folder = mkdtempSync(join(tmpdir(), 'nt-ck'));
    rootfs = makeBusyboxRoot(folder);
    script = await bundleScript(fileURLToPath(new URL('container-kill-parent.ts', import.meta.url)));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const mark = (): string => folder.slice(folder.lastIndexOf('/') + 1);

  /** Of the host's ends of their interfaces, whose names are short. */
  const linkMark = (): string => `nl-${process.pid.toString(36)}k`;

  /** A third has an interface, a third its root in an image, a third its own users, network and bind mount. */
  function xmlOf(name: string, kind: number, dir: string): string {
    const image = join(dir, 'image');
    const isImage = kind % 3 === 1;
    if (isImage) {
      execFileSync('truncate', ['-s', '8M', image]);
      execFileSync('mkfs.ext4', ['-q', '-d', rootfs, image]);
    }
    const root = isImage
      ? `<filesystem type='file'><source file='${image}'/><target dir='/'/></filesystem>`
      : `<filesystem type='mount'><source dir='${dir}/root'/><target dir='/'/></filesystem>`;
    if (!isImage) symlinkSync(rootfs, join(dir, 'root'));
    const more = [
      `<interface type='ethernet'><target dev='${linkMark()}${kind}'/></interface>`,
      '',
      `<interface type='ethernet'><target dev='${linkMark()}${kind}'/></interface><filesystem type='bind'><source dir='${dir}'/><target dir='/mnt'/></filesystem>`,
    ][kind % 3];
    const users =
      "<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' count='65536'/></idmap>";
    return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>${kind % 3 === 2 ? users : ''}
      <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>echo up; setsid sleep 1${process.pid}${kind} &amp; sleep 1000</initarg></os>
      <devices>${root}${more}<console type='pty'/></devices></domain>`;
  }

  function processesOf(word: string): { pid: number; command: string }[] {
    return listProcesses().flatMap(({ pid, gone }) => {
      const command = gone || pid === process.pid ? '' : commandOf(pid);
      return command.includes(word) ? [{ pid, command: command.slice(0, 160) }] : [];
    });
  }

  /** Of a killed caller: the kernel ends it all, in a moment. The outermost process names the folder, what runs inside has the number. */
  async function untilNothingRuns(index: number): Promise<void> {
    const dir = join(folder, `n${index}`);
    const living = (): string =>
      [...processesOf(`${dir}/`), ...processesOf(`sleep 1${process.pid}${index} `)]
        .map(({ pid, command }) => `${pid} ${command}`)
        .join('\n');
    await pollUntil(() => living() === '', living);
    await pollUntil(
      () => loopsBelow(dir) === '',
      () => loopsBelow(dir),
    );
  }

  function loopsBelow(dir: string): string {
    const all = execFileSync('losetup', ['-n', '-O', 'BACK-FILE'], { encoding: 'utf8' });
    return all
      .split('\n')
      .filter((line) => line.includes(dir))
      .join('\n');
  }

  /** What bears the mark: groups, interfaces, files at run time, mounts. */
  function leftOvers(): string {
    const quietly = (command: string, args: readonly string[]): string =>
      spawnSync(command, args, { encoding: 'utf8' }).stdout;
    const links = readFileSync('/proc/self/net/dev', 'utf8').match(new RegExp(`${linkMark()}\\w*`, 'g')) ?? [];
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    return [
      quietly('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `*${mark()}*`]),
      quietly('grep', ['-rlsF', mark(), prepareRuntimeDir()]),
      ...links,
      ...mounts.filter((line) => line.includes(mark())),
    ]
      .filter(Boolean)
      .join('\n');
  }

  /** The next start removes what the kernel has not. */
  async function expectNothingLeft(): Promise<void> {
    await using _next = await connect('lxc:///embed');
    await pollUntil(() => leftOvers() === '', leftOvers, { timeoutMs: 10_000 });
  }

  interface Killing {
    readonly index: number;
    readonly command: string;
    readonly args: readonly string[];
    /** What it prints before the moments begin. */
    readonly first: string;
  }

  /** @returns the last word of it */
  async function killAt({ index, command, args, first }: Killing): Promise<string> {
    const dir = join(folder, `n${index}`);
    mkdirSync(dir);
    const xml = join(dir, 'box.xml');
    writeFileSync(xml, xmlOf(`${mark()}-${index}`, index, dir));
    const caller = spawn(command, [...args, xml], {
      env: { ...process.env, TMPDIR: dir },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let words = '';
    caller.stdout.on('data', (chunk: Buffer) => (words += chunk.toString()));
    caller.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()));
    const exited = once(caller, 'exit');
    await pollUntil(
      () => words.includes(first) || caller.exitCode !== null,
      () => `it does not start: ${words}`,
    );
    await pause(Math.random() * LATEST_MS);
    caller.kill('SIGKILL');
    expect((await exited)[1], words).toBe('SIGKILL');
    await untilNothingRuns(index);
    return words.trim().split('\n').at(-1) ?? '';
  }

  async function killMany(killings: readonly Killing[]): Promise<string[]> {
    const queue = [...killings];
    const reached: string[] = [];
    const worker = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) reached.push(await killAt(next));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return reached;
  }

  it(`of its caller, at ${CALLERS} moments`, { timeout: 120_000 }, async () => {
    const killings = Array.from({ length: CALLERS }, (_, index) => ({
      index,
      command: process.execPath,
      args: [script],
      // Half of them while it starts.
      first: index % 2 === 0 ? 'starting' : 'running',
    }));
    const reached = await killMany(killings);
    // The moments really were in starts and in lives.
    expect(new Set(reached).size).toBeGreaterThan(1);
    await expectNothingLeft();
    const files = readdirSync(folder).filter((name) => name.startsWith('n'));
    for (const dir of files) {
      expect(readdirSync(join(folder, dir)).filter((name) => !['box.xml', 'image', 'root'].includes(name))).toEqual([]);
    }
  });

  it(`of nestling run, at ${RUNS} moments`, { timeout: 120_000 }, async () => {
    const killings = Array.from({ length: RUNS }, (_, index) => ({
      index: CALLERS + index,
      command: CLI,
      args: ['run', '--console'],
      // Half of them while it starts.
      first: index % 2 === 0 ? '' : 'up',
    }));
    const reached = await killMany(killings);
    expect(reached).toContain('up');
    await expectNothingLeft();
  });

  /** Starts one, and kills a process of it as soon as that is there, or some time later. */
  async function strike(
    connection: Connection,
    index: number,
    victims: () => number[],
    { inLife = true } = {},
  ): Promise<'started' | 'failed'> {
    const name = `${mark()}-${index}`;
    const dir = join(folder, `n${index}`);
    mkdirSync(dir);
    let isOver = false;
    const starting = connection
      .createDomain(xmlOf(name, index, dir))
      .then(
        (domain) => ({ domain, error: undefined }),
        (error: unknown) => ({ domain: undefined, error }),
      )
      .finally(() => {
        isOver = true;
      });
    const moment = Math.floor(index / 3) % 3;
    // As soon as there is one, some time later, or once it runs.
    if (moment === 1) await pause(Math.random() * LATEST_IN_START_MS);
    if (inLife && moment === 2) await starting;
    await pollUntil(() => victims().length > 0 || isOver, 'it does not start');
    for (const pid of victims()) killIfThere(pid);
    const { domain, error } = await starting;
    if (domain === undefined) {
      // In one line, with the container's name, and nothing of what follows from it.
      expect(String(error)).toMatch(
        new RegExp(`^VirtError: (internal error: )?cannot start container ${name}: [^\\n]+$`),
      );
      expect(String(error)).not.toMatch(/undefined|parse pid|sigprocmask/);
    } else if (inLife) {
      const ended = domain.waitForStop().catch(orGone);
      // Where the moment was before there was any.
      for (const pid of victims()) killIfThere(pid);
      await ended;
    } else {
      await domain.destroy().catch(orGone);
    }
    await untilNothingRuns(index);
    return domain === undefined ? 'failed' : 'started';
  }

  it(`of its runtime, ${RUNTIMES} times`, { timeout: 120_000 }, async () => {
    const outcomes: string[] = [];
    {
      await using connection = await connect('lxc:///embed');
      const runtimes = (): number[] =>
        listDescendants(process.pid).flatMap(({ pid }) => (/^\S*crun /.test(commandOf(pid)) ? [pid] : []));
      for (let index = 0; index < RUNTIMES; index++) outcomes.push(await strike(connection, 108 + index, runtimes));
    }
    expect(outcomes).toContain('failed');
    expect(outcomes).toContain('started');
    await expectNothingLeft();
  });

  it.each(['crun', 'conmon'])(`of %s of a daemon, ${RUNTIMES} times`, { timeout: 120_000 }, async (program) => {
    await using daemon = await startDaemon();
    const outcomes: string[] = [];
    const victims = (): number[] =>
      processesOf(`${daemon.stateDir}/run/`).flatMap(({ pid, command }) =>
        new RegExp(`^\\S*${program} `).test(command) ? [pid] : [],
      );
    const base = program === 'crun' ? 207 : 306;
    {
      await using connection = await connect(daemon.uri.replace(/^qemu/, 'lxc'));
      for (let index = 0; index < RUNTIMES; index++) {
        // The runtime has ended by itself once the container runs.
        outcomes.push(await strike(connection, base + index, victims, { inLife: program === 'conmon' }));
      }
      expect(await connection.listAllDomains()).toEqual([]);
    }
    expect(outcomes).toContain('failed');
    if (program === 'conmon') expect(outcomes).toContain('started');
    expect(readdirSync(join(daemon.stateDir, 'run/lxc'))).toEqual([]);
    expect(readdirSync(join(daemon.stateDir, 'run/status')).filter((name) => name.startsWith('lxc-'))).toEqual([]);
    await expectNothingLeft();
  });
});

/** It was transient, and has ended, or is ending, before anybody could wait for it or end it. */
function orGone(error: unknown): void {
  const gone: readonly ErrorCode[] = [ErrorCode.NO_DOMAIN, ErrorCode.OPERATION_INVALID];
  if (!(error instanceof VirtError && gone.includes(error.code))) throw error;
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It has ended since it was seen.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
