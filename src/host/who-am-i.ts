/**
 * Who this process is to the kernel: its ids, and whether it sits in a container or a user namespace, where root is not
 * the host's root. Facts only; what follows from them is decided elsewhere.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface WhoAmI {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
  /** `docker`, `podman`, `lxc`, `kubernetes`, … when there are signs of a container. */
  readonly container?: string;
  /** Whether user ids are mapped: uid 0 here is then not the host's. */
  readonly userNamespace: boolean;
}

export interface WhoAmIRoots {
  readonly root?: string;
  readonly proc?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Reads a few small files; never fails. */
export function readWhoAmI({ root = '/', proc = '/proc', env = process.env }: WhoAmIRoots = {}): WhoAmI {
  const container = detectContainer(root, proc, env);
  return {
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
    ...(container !== undefined && { container }),
    userNamespace: isMapped(readOrEmpty(join(proc, 'self/uid_map'))),
  };
}

/** The initial user namespace maps all ids to themselves. */
function isMapped(uidMap: string): boolean {
  const text = uidMap.trim().split(/\s+/).join(' ');
  return text !== '' && text !== '0 0 4294967295';
}

/** The signs that container engines leave, the most telling first. */
function detectContainer(root: string, proc: string, env: NodeJS.ProcessEnv): string | undefined {
  if (env['KUBERNETES_SERVICE_HOST']) return 'kubernetes';
  const ofInit = readOrEmpty(join(proc, '1/environ'))
    .split('\0')
    .find((entry) => entry.startsWith('container='));
  const named = ofInit?.slice('container='.length) ?? env['container'];
  if (named !== undefined && named !== '') return named;
  if (existsSync(join(root, 'run/.containerenv'))) return 'podman';
  if (existsSync(join(root, '.dockerenv'))) return 'docker';
  return undefined;
}

/** Unreadable without privilege (/proc/1/environ), or absent on old kernels: no sign. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
