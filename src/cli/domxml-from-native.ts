/** `nestling domxml-from-native`: a definition for a configuration of LXC's own tools, with the files that it includes. */
import { dirname, resolve } from 'node:path';
import { readIncludedFiles } from '../driver/lxc/runtime/included-files.ts';
import { fromNative } from '../driver/lxc/runtime/native-formats.ts';
import { displayName, onePositional, parseOptions, readInput, UsageError } from './usage.ts';

const HELP = `Usage: nestling domxml-from-native lxc-tools FILE

Prints the domain XML for a configuration of LXC's own tools, 1.x to 5.x ('-': standard input). What it says and a
definition cannot is told line by line on standard error. Files that it includes are read; their paths count from
FILE's folder.

Options:
  -h, --help   this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, { help: { type: 'boolean', short: 'h' } });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [format, ...rest] = positionals;
  if (format !== 'lxc-tools') throw new UsageError(`the format must be lxc-tools, not '${format ?? ''}'`);
  const path = onePositional(rest, 'FILE');
  const folder = path === '-' ? process.cwd() : dirname(resolve(path));
  const { xml, notes } = fromNative(format, await readInput(path), {
    fileName: displayName(path),
    readIncluded: (named) => readIncludedFiles(named, folder),
  });
  for (const note of notes) process.stderr.write(`${note}\n`);
  process.stdout.write(xml);
  return 0;
}
