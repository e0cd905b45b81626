/**
 * All processes as a tree, each with its user, state, memory, cgroup and what differs in its namespaces from the reader's: from /proc alone,
 * because small containers have no `ps`. Reads only.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

export interface ProcessRow {
  readonly pid: number;
  readonly parentPid: number;
  readonly uid: string;
  readonly state: string;
  readonly memoryKiB: number;
  /** The v2 group, or that of the first hierarchy. */
  readonly cgroup: string;
  /** `pid:[4026531836]`, as /proc names them. */
  readonly namespaces: readonly string[];
  readonly command: string;
}

const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];
const MAX_COMMAND = 2000;

/** Those that end meanwhile are left out. */
export function readProcesses(proc = '/proc'): ProcessRow[] {
  const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    const row = readProcess(join(proc, pid), Number(pid));
    return row === undefined ? [] : [row];
  });
}

/** Parents before children, each below its own, indented. Namespaces are shown where they are not the reader's. Pure. */
export function formatProcessTree(rows: readonly ProcessRow[], own: readonly string[]): string {
  const lines = ['PID UID STATE RSS_KIB CGROUP COMMAND   {namespaces that are not those of this program}'];
  const pids = new Set(rows.map(({ pid }) => pid));
  const children = new Map<number, ProcessRow[]>();
  for (const row of rows) children.set(row.parentPid, [...(children.get(row.parentPid) ?? []), row]);
  const seen = new Set<number>();
  const add = (row: ProcessRow, depth: number): void => {
    if (seen.has(row.pid)) return;
    seen.add(row.pid);
    lines.push(formatRow(row, depth, own));
    for (const child of children.get(row.pid) ?? []) add(child, depth + 1);
  };
  for (const row of rows) if (!pids.has(row.parentPid)) add(row, 0);
  return `${lines.join('\n')}\n`;
}

function formatRow(row: ProcessRow, depth: number, own: readonly string[]): string {
  const { pid, uid, state, memoryKiB, cgroup, namespaces, command } = row;
  const foreign = namespaces.filter((name) => own.length > 0 && !own.includes(name));
  const suffix = foreign.length === 0 ? '' : `   {${foreign.join(' ')}}`;
  return `${'  '.repeat(depth)}${pid} ${uid} ${state} ${memoryKiB} ${cgroup} ${command}${suffix}`;
}

function readProcess(folder: string, pid: number): ProcessRow | undefined {
  const status = read(join(folder, 'status'));
  const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
  if (field('State') === '') return undefined;
  const words = read(join(folder, 'cmdline')).replaceAll('\0', ' ').trim().slice(0, MAX_COMMAND);
  const groups = read(join(folder, 'cgroup')).trim().split('\n');
  const group = groups.find((line) => line.startsWith('0::')) ?? groups[0] ?? '';
  return {
    pid,
    parentPid: Number(field('PPid')),
    uid: field('Uid'),
    state: field('State'),
    memoryKiB: Number(field('VmRSS')),
    cgroup: group.slice(group.indexOf(':', group.indexOf(':') + 1) + 1) || '-',
    namespaces: readNamespaces(folder),
    command: words === '' ? `[${field('Name')}]` : words,
  };
}

/** Of other users' processes none can be read. */
export function readNamespaces(folder: string): string[] {
  return NAMESPACES.flatMap((name) => {
    try {
      return [readlinkSync(join(folder, 'ns', name))];
    } catch {
      // Not for us, or gone.
      return [];
    }
  });
}

/** It may end at any moment, and then says nothing. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
