/** What the programs that run in the v2 guest have in common: plain reading and writing of cgroup files, and processes in groups. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type CgroupPlace, detectCgroups } from '../../src/cgroup/index.ts';
import type { ChildHandle } from '../../src/process/child-handle.ts';
import { spawnChild } from '../../src/process/spawn.ts';

export const ROOT = '/sys/fs/cgroup';

/** A write as libvirt or a script does it: `done`, or the errno. */
export function attempt(file: string, value: string): string {
  try {
    writeFileSync(`${ROOT}/${file}`, value);
    return 'done';
  } catch (error) {
    return errnoOf(error);
  }
}

/** By the kernel's name: the two have one number on Linux, and Node tells the other name. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error) return String(error.code).replace(/^ENOTSUP$/, 'EOPNOTSUPP');
  throw error;
}

/** Makes a group; one that is there is fine. */
export function make(group: string): void {
  mkdirSync(`${ROOT}/${group}`, { recursive: true });
}

export function read(file: string): string {
  return readFileSync(`${ROOT}/${file}`, 'utf8').trim();
}

/** What is known of the caller's own group now. */
export function stage(): { namespace: string; mode: string } & Record<string, unknown> {
  const { mode, namespace, unified } = detectCgroups();
  return { mode, namespace, ...unified };
}

/** `done`, or the one line of the error. */
export function messageOf(act: () => unknown): string {
  try {
    act();
    return 'done';
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

/** The same of what is waited for. */
export async function messageOfAsync(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return 'done';
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

/** A process that does nothing, where its parent is. */
export async function startSleeper(group?: string): Promise<ChildHandle> {
  return await spawnChild({
    command: 'sleep',
    args: ['1000'],
    ...(group === undefined ? {} : { cgroupProcs: [`${ROOT}/${group}/cgroup.procs`] }),
  });
}

/** Runs a shell script in the group. */
export async function runIn(
  { v2 }: CgroupPlace,
  script: string,
): Promise<{ exitCode: number | undefined; signal: string | undefined; stdout: string; stderr: string }> {
  const cgroupProcs = [`${v2?.directory}/cgroup.procs`];
  await using child = await spawnChild({
    command: 'sh',
    args: ['-c', script],
    stdio: ['ignore', 'pipe', 'tail'],
    cgroupProcs,
  });
  let stdout = '';
  for await (const chunk of child.readable(1)) stdout += String(chunk);
  const { exitCode, signal, stderrTail } = await child.exited;
  return { exitCode, signal, stdout, stderr: stderrTail };
}

/** Runs one of a program's scenarios, by the name on its command line, and prints what it returns. */
export async function runScenario(scenarios: Readonly<Record<string, () => unknown>>): Promise<void> {
  const name = process.argv[2] ?? '';
  const scenario = scenarios[name];
  if (scenario === undefined) throw new TypeError(`no scenario '${name}': ${Object.keys(scenarios).join(', ')}`);
  process.stdout.write(`${JSON.stringify((await scenario()) ?? {})}\n`);
}
