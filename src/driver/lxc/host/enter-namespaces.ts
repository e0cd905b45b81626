/** How nsenter is told to go where a process is: by way of its user namespace, where that is another one than ours. Reads /proc only. */
import { readFileSync, readlinkSync } from 'node:fs';

/** Options of nsenter before `--`. `others`: the namespaces that are to be entered besides, as its options. */
export function enterOptions(pid: number, others: readonly string[], proc = '/proc'): string[] {
  const target = ['-t', String(pid)];
  if (readlinkSync(`${proc}/${pid}/ns/user`) === readlinkSync(`${proc}/self/ns/user`)) return [...target, ...others];
  // Its root may be ourselves: then there is nobody to become, and where groups cannot be set even trying fails.
  const isOurs = rootOf(readFileSync(`${proc}/${pid}/uid_map`, 'utf8')) === process.geteuid?.();
  return [...target, '-U', ...(isOurs ? ['--preserve-credentials'] : []), ...others];
}

/** Which of our ids its root is. */
function rootOf(map: string): number | undefined {
  const line = map
    .split('\n')
    .map((text) => text.trim().split(/\s+/).map(Number))
    .find(([inside]) => inside === 0);
  return line?.[1];
}
