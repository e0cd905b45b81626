/** Names in folders of the kernel's and of the distribution's, of which any may be missing. Not for folders of ours: there, a failure counts. */
import { readdirSync } from 'node:fs';

/** Sorted; none where the folder is not there or cannot be read. */
export function listNames(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    return [];
  }
}
