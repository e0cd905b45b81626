/** Hierarchies of cgroups as text: each group with the files that say what it may do and who is in it. Bounded; reads only. */
import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const KEY_FILES = [
  'cgroup.type',
  'cgroup.controllers',
  'cgroup.subtree_control',
  'cgroup.procs',
  'memory.max',
  'memory.limit_in_bytes',
  'cpu.max',
  'cpu.cfs_quota_us',
  'cpuset.cpus',
  'pids.max',
];
const MAX_GROUPS = 2000;

/** One line for each group: its directory, and the key files that are not empty. */
export function formatCgroupTree(roots: readonly string[], maxGroups = MAX_GROUPS): string {
  const lines: string[] = [];
  const walk = (directory: string): void => {
    if (lines.length >= maxGroups) return;
    lines.push([directory, ...KEY_FILES.flatMap((file) => readKey(directory, file))].join('  '));
    for (const entry of entriesOf(directory)) if (entry.isDirectory()) walk(join(directory, entry.name));
  };
  for (const root of roots) walk(root);
  if (lines.length >= maxGroups) lines.push(`(no more than ${maxGroups} groups are listed)`);
  return `${lines.join('\n')}\n`;
}

function readKey(directory: string, file: string): string[] {
  try {
    const text = readFileSync(join(directory, file), 'utf8').trim().replaceAll('\n', ' ');
    if (text === '') return [];
    return [`${file}=${file === 'cgroup.procs' ? withoutUnseen(text) : text}`];
  } catch {
    // Not in this hierarchy, or not in this kind of group.
    return [];
  }
}

/** Processes of outer PID namespaces all have the number 0. */
function withoutUnseen(text: string): string {
  const pids = text.split(' ');
  const seen = pids.filter((pid) => pid !== '0');
  const unseen = pids.length - seen.length;
  return [...seen, ...(unseen === 0 ? [] : [`(${unseen} of outer PID namespaces)`])].join(' ');
}

/** A group may be removed while its siblings are read. */
function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
