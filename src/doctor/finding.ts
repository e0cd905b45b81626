/** What a check of the doctor finds, and what it may look at. Types, and the access to the host that checks share. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { lookUpProgram } from '../process/find-program.ts';

export type Verdict = 'pass' | 'warn' | 'fail';

/** One line of the report. */
export interface Finding {
  /** Names the check for scripts: `kvm`, `cgroup-delegation`. */
  readonly id: string;
  readonly title: string;
  readonly verdict: Verdict;
  /** What was found. */
  readonly fact: string;
  /** Why it matters; for warnings and failures. */
  readonly why?: string | undefined;
  readonly fix?: Fix | undefined;
}

/** What to do about it. */
export interface Fix {
  /** For a shell. */
  readonly command: string;
  /** `--fix` may run it: it takes nothing away from anybody and is gone with the next boot or container. */
  readonly safe?: boolean | undefined;
}

/** Where checks look; every default is the real host. */
export interface DoctorHost {
  readonly proc: string;
  readonly sys: string;
  readonly dev: string;
  readonly etc: string;
  readonly run: string;
  /** Kernel modules: `/lib/modules`. */
  readonly modules: string;
  readonly env: NodeJS.ProcessEnv;
  readonly uid: number;
  /** Finds a program; default: in PATH and where the system keeps its own. */
  readonly find?: ((program: string) => string | undefined) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type Check = (host: DoctorHost) => Finding[] | Promise<Finding[]>;

export function realHost(signal?: AbortSignal): DoctorHost {
  const uid = process.geteuid?.() ?? 0;
  return {
    proc: '/proc',
    sys: '/sys',
    dev: '/dev',
    etc: '/etc',
    run: '/run',
    modules: '/lib/modules',
    env: process.env,
    uid,
    signal,
  };
}

/** A program's path, where it is installed. */
export function lookUp({ find = lookUpProgram }: Pick<DoctorHost, 'find'>, program: string): string | undefined {
  return find(program);
}

/** A small file's text without its end of line; undefined when it is not there or not for us. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
}

export function isThere(path: string): boolean {
  return existsSync(path);
}

/** A device node's or file's mode as `ls` shows its last three digits. */
export function modeOf(path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? undefined : (stats.mode & 0o777).toString(8).padStart(4, '0');
}

/** A fix that takes root: `--fix` runs it only as root. */
export function rootFix({ uid }: Pick<DoctorHost, 'uid'>, command: string): Fix {
  return { command, safe: uid === 0 };
}

/** A path or name as one word for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Loads the first of these modules that the running kernel has as a file; undefined where it has none, as in most containers. */
export function moduleFix(host: Pick<DoctorHost, 'modules' | 'uid'>, ...names: readonly string[]): Fix | undefined {
  const files = readText(`${host.modules}/${release()}/modules.dep`) ?? '';
  // Files have a dash where the module's name has an underscore, or not.
  const found = names.find((name) => new RegExp(`/${name.replace(/[_-]/g, '[_-]')}\\.ko[.a-z]*:`).test(files));
  return found === undefined ? undefined : rootFix(host, `modprobe ${found}`);
}

export function pass(id: string, title: string, fact: string): Finding {
  return { id, title, verdict: 'pass', fact };
}

export function warn(id: string, title: string, fact: string, why: string, fix?: string | Fix): Finding {
  return { id, title, verdict: 'warn', fact, why, ...fixOf(fix) };
}

export function fail(id: string, title: string, fact: string, why: string, fix?: string | Fix): Finding {
  return { id, title, verdict: 'fail', fact, why, ...fixOf(fix) };
}

function fixOf(fix: string | Fix | undefined): { fix?: Fix } {
  if (fix === undefined) return {};
  return { fix: typeof fix === 'string' ? { command: fix } : fix };
}
