/** Which bundle of the command a command line needs: the small ones run guests that need nothing but themselves, a kind each. */
import { readFileSync } from 'node:fs';

export type BundleName = 'cli-main' | 'cli-run' | 'cli-container';

/** Devices that other drivers stand behind (networks and storage pools). */
const NEEDS_DRIVERS = /<(interface|disk|filesystem|hostdev)\b[^>]*\btype\s*=\s*["'](network|volume)["']/;
const CONTAINER = /<domain\b[^>]*\btype\s*=\s*["']lxc["']/;
/** Definitions are much smaller. */
const MAX_BYTES = 4 << 20;

/** `words`: the command's arguments. */
export function chooseBundle(words: readonly string[], read: (path: string) => string = readStart): BundleName {
  const [command, ...rest] = words;
  if (command !== 'run' || rest.some((word) => word.startsWith('--listen'))) return 'cli-main';
  // What comes on standard input is not known yet.
  if (rest.includes('-')) return 'cli-main';
  const texts = rest.filter((word) => !word.startsWith('-')).map((word) => read(word));
  if (texts.some((text) => NEEDS_DRIVERS.test(text))) return 'cli-main';
  if (!texts.some(isContainer)) return 'cli-run';
  return rest.includes('--dry-run') ? 'cli-main' : 'cli-container';
}

/** Whether it is the definition of a container. */
export function isContainer(xml: string): boolean {
  return CONTAINER.test(xml);
}

/** Empty for what is no readable file: the command says what is wrong with it. */
function readStart(path: string): string {
  try {
    return readFileSync(path, 'latin1').slice(0, MAX_BYTES);
  } catch {
    return '';
  }
}
