/** `nestling image run`: a command in an image or a folder, without booting it. */
import { runInRoot } from '../rootfs/run-in-root.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling image run [OPTIONS] IMAGE|DIRECTORY -- COMMAND [ARGUMENTS]

Runs a command as if IMAGE or DIRECTORY were the whole system: with /proc, /sys (read-only), a few devices, the host's
network and resolvers. Nothing is booted, and nothing stays mounted or running, however it ends. What it changes is thrown
away, unless --write or --save is given. Programs of other architectures run by emulation (package qemu-user-static);
nothing is registered on the host (Linux 6.7 and later). It is no sandbox against root.

Options:
      --write            keep what changes in DIRECTORY
      --save NAME        make an image of the result when COMMAND succeeds
      --arch ARCH        which image, when there are several of that name; what DIRECTORY is for, when that cannot be seen
      --env NAME=VALUE   in its environment; may be given again
      --cwd PATH         where it starts
      --register-binfmt  where this kernel (before 6.7) cannot register an emulator for one command, do it for the host
  -h, --help             this text

Exit status: COMMAND's, 128 + n for a signal; 125 when the root could not be set up.
`;

export async function main(args: string[]): Promise<number> {
  const dash = args.indexOf('--');
  const { values, positionals } = parseOptions(dash < 0 ? args : args.slice(0, dash), {
    write: { type: 'boolean' },
    save: { type: 'string' },
    arch: { type: 'string' },
    env: { type: 'string', multiple: true },
    cwd: { type: 'string' },
    'register-binfmt': { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [target, unexpected] = positionals;
  if (target === undefined) throw new UsageError('the image is missing');
  if (unexpected !== undefined) throw new UsageError(`unexpected argument '${unexpected}'; the command comes after --`);
  const command = dash < 0 ? [] : args.slice(dash + 1);
  if (command.length === 0) throw new UsageError('the command is missing: nestling image run IMAGE -- COMMAND');
  // A terminal's interrupt is the command's to take; what ends us ends it too.
  process.on('SIGINT', () => undefined);
  process.on('SIGQUIT', () => undefined);
  const { status, saved } = await runInRoot(target, command, {
    write: values.write,
    save: values.save,
    arch: values.arch,
    cwd: values.cwd,
    env: Object.fromEntries((values.env ?? []).map(parseVariable)),
    registerBinfmt: values['register-binfmt'],
    stdio: ['inherit', 'inherit', 'inherit'],
  });
  if (saved !== undefined) process.stderr.write(`nestling image: saved as ${saved.name} ${saved.key.slice(0, 12)}\n`);
  return status;
}

function parseVariable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError(`--env takes NAME=VALUE, not '${text}'`);
}
