/** `nestling exec`: a program in a running guest, with this process's input and output and its exit status. Thin: the library does the work. */
import type { Connection } from '../api/connection.ts';
import type { Domain } from '../api/domain.ts';
import { ErrorCode, VirtError } from '../core/errors.ts';
import { connect } from '../index.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling exec [OPTIONS] GUEST -- COMMAND [ARGUMENT...]

Runs a program in a running guest of a daemon, or of 'nestling run --listen'. In a container it has the container's
limits, capabilities and users; this must be root on the container's host. In a virtual machine the guest agent starts
it: its input is sent when it begins, and its output comes when it has ended.

Options:
      --connect URI     the daemon's driver (default: LIBVIRT_DEFAULT_URI, else whichever of the daemon's on this host
                        has the guest)
      --socket PATH     of 'nestling run --listen PATH'
  -t, --tty             a terminal of the container's own, joined with this one
  -u, --user USER       name or number in the guest; USER:GROUP in containers
  -w, --workdir DIR     its working directory
  -e, --env NAME=VALUE  a variable of its environment; may repeat
  -h, --help            this text

Exit status: the program's, 128+N when signal N ended it; 1 the guest is not reached, 2 wrong usage.
`;

interface ExecWishes {
  readonly guest: string;
  readonly command: readonly string[];
  readonly uris: readonly string[];
  readonly terminal: boolean;
  readonly user: string | undefined;
  readonly cwd: string | undefined;
  readonly env: readonly string[];
}

export async function main(args: string[]): Promise<number> {
  const wishes = parseExecOptions(args);
  if (wishes === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const { command, terminal, user, cwd, env } = wishes;
  const { connection, guest } = await findGuest(wishes.guest, wishes.uris);
  try {
    return (await guest.exec(command, { stdio: 'inherit', terminal, user, cwd, env })).status;
  } finally {
    await connection.close();
  }
}

/** What follows `--` is the program's. @throws UsageError */
export function parseExecOptions(args: string[], environment: NodeJS.ProcessEnv = process.env): ExecWishes | 'help' {
  const dashes = args.indexOf('--');
  const { values, positionals } = parseOptions(dashes < 0 ? args : args.slice(0, dashes), {
    connect: { type: 'string' },
    socket: { type: 'string' },
    tty: { type: 'boolean', short: 't' },
    user: { type: 'string', short: 'u' },
    workdir: { type: 'string', short: 'w' },
    env: { type: 'string', short: 'e', multiple: true },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) return 'help';
  const [guest, ...more] = positionals;
  if (guest === undefined) throw new UsageError('GUEST is missing');
  const command = dashes < 0 ? [] : args.slice(dashes + 1);
  if (dashes >= 0 && more[0] !== undefined) throw new UsageError(`unexpected argument '${more[0]}' before --`);
  if (command.length === 0) throw new UsageError('COMMAND is missing: nestling exec GUEST -- COMMAND');
  if (values.connect !== undefined && values.socket !== undefined)
    throw new UsageError('--connect and --socket exclude each other');
  const nameless = values.env?.find((one) => !/^[^=]+=/.test(one));
  if (nameless !== undefined) throw new UsageError(`--env takes NAME=VALUE, not '${nameless}'`);
  return {
    guest,
    command,
    uris: urisOf(values.connect, values.socket, environment),
    terminal: values.tty === true,
    user: values.user,
    cwd: values.workdir,
    env: values.env ?? [],
  };
}

/** To be asked in turn. */
function urisOf(uri: string | undefined, socket: string | undefined, environment: NodeJS.ProcessEnv): string[] {
  // Its one driver answers whatever URI it is called by.
  if (socket !== undefined) return [`qemu+unix:///system?socket=${encodeURIComponent(socket)}`];
  const chosen = uri ?? environment['LIBVIRT_DEFAULT_URI'] ?? '';
  if (chosen !== '') return [chosen];
  const mode = process.geteuid?.() === 0 ? 'system' : 'session';
  return [`lxc:///${mode}`, `qemu:///${mode}`];
}

/** @throws VirtError of the last that was asked */
async function findGuest(
  name: string,
  [uri = '', ...others]: readonly string[],
): Promise<{ connection: Connection; guest: Domain }> {
  let connection: Connection | undefined;
  try {
    connection = await connect(uri);
    return { connection, guest: await lookUp(connection, name) };
  } catch (error) {
    await connection?.close();
    if (others.length > 0 && error instanceof VirtError && MAY_BE_ELSEWHERE.has(error.code)) {
      return await findGuest(name, others);
    }
    throw error;
  }
}

const MAY_BE_ELSEWHERE: ReadonlySet<number> = new Set([
  ErrorCode.NO_DOMAIN,
  ErrorCode.NO_CONNECT,
  ErrorCode.NO_SUPPORT,
]);

/** By name, else by UUID. */
async function lookUp(connection: Connection, name: string): Promise<Domain> {
  const isUuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(name);
  return isUuid ? await connection.lookupDomainByUUID(name) : await connection.lookupDomainByName(name);
}
