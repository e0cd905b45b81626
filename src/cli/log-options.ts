/** The options of every command that are about the log: taken out of the arguments before the command sees them. */
import type { LogTexts } from '../log/settings.ts';
import { UsageError } from './usage.ts';

const OPTIONS: Readonly<Record<string, keyof LogTexts>> = {
  '--log-level': 'level',
  '--log-filters': 'filters',
  '--log-outputs': 'outputs',
  '--log-format': 'format',
};

export const LOG_HELP = `  --log-level LEVEL    what sources without a filter may say: 1 debug, 2 info, 3 warning, 4 error
  --log-filters TEXT   '1:qemu 1:util.command 3:event': levels by source ('nestling help log' lists them)
  --log-outputs TEXT   '3:stderr 1:file:/tmp/nestling.log', also syslog:NAME and journald; default standard error
  --log-format FORMAT  text (libvirt's) or json
`;

/** @throws UsageError for an option without a value */
export function takeLogOptions(args: readonly string[]): { rest: string[]; texts: LogTexts } {
  const rest: string[] = [];
  const texts: { -readonly [K in keyof LogTexts]: LogTexts[K] } = {};
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? '';
    // What follows belongs to somebody else.
    if (word === '--') return { rest: [...rest, ...args.slice(index)], texts };
    const [option = '', ...parts] = word.split('=');
    const key = Object.hasOwn(OPTIONS, option) ? OPTIONS[option] : undefined;
    if (key === undefined) {
      rest.push(word);
    } else if (parts.length > 0) {
      texts[key] = parts.join('=');
    } else {
      const value = args[++index];
      if (value === undefined) throw new UsageError(`${option} takes a value`);
      texts[key] = value;
    }
  }
  return { rest, texts };
}
