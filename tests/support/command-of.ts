/** Command lines of processes, which come and go while tests look at them. */
import { readFileSync } from 'node:fs';

/** Its words, a space behind each; empty where it has gone since it was listed. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
