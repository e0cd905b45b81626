/** Which bundle of the command a command line needs: the small one runs guests that need nothing but themselves. */
import { readFileSync } from 'node:fs';

export type BundleName = 'cli-main' | 'cli-run';

/** Devices that other drivers stand behind (networks and storage pools), and containers. */
const NEEDS_DRIVERS =
  /<(interface|disk|filesystem|hostdev)\b[^>]*\btype\s*=\s*["'](network|volume)["']|<domain\b[^>]*\btype\s*=\s*["']lxc["']/;
/** Definitions are much smaller. */
const MAX_BYTES = 4 << 20;

/** `words`: the command's arguments. */
export function chooseBundle(words: readonly string[], read: (path: string) => string = readStart): BundleName {
  const [command, ...rest] = words;
  if (command !== 'run' || rest.some((word) => word.startsWith('--listen'))) return 'cli-main';
  // What comes on standard input is not known yet.
  if (rest.includes('-')) return 'cli-main';
  return rest.some((word) => !word.startsWith('-') && NEEDS_DRIVERS.test(read(word))) ? 'cli-main' : 'cli-run';
}

/** Empty for what is no readable file: the command says what is wrong with it. */
function readStart(path: string): string {
  try {
    return readFileSync(path, 'latin1').slice(0, MAX_BYTES);
  } catch {
    return '';
  }
}
