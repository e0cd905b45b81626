/** `nestling daemon`: serves guests that outlive it to libvirt's clients. */
import { setFlagsFromString } from 'node:v8';
import { activatedSockets } from '../daemon/activated-sockets.ts';
import { Daemon, type DaemonOptions } from '../daemon/daemon.ts';
import { setSaslUser } from '../daemon/sasl-users.ts';
import { type DaemonSettings, DEFAULT_DAEMON_SETTINGS } from '../daemon/settings.ts';
import { parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling daemon [OPTIONS]

Serves QEMU guests to virsh and every other libvirt client, on libvirt's own sockets: 'virsh -c qemu:///system list' just
works. Guests, definitions and secrets outlive the daemon; the next one takes them over.

Options:
      --system           for the host (default for root): sockets in /run/libvirt, state in /var/lib/nestling, /etc/nestling
      --session          for one user: sockets in $XDG_RUNTIME_DIR/libvirt, state in the user's own folders
      --socket PATH      listen there instead (and, read-only, on PATH-ro)
      --state-dir DIR    keep everything below DIR, sockets in DIR/run
      --config FILE      settings in libvirtd.conf's format; default /etc/nestling/daemon.conf
      --listen-tls       listen on TLS too (port 16514, or tls_port)
      --listen-tcp       listen on plain TCP too, with SASL (port 16509, or tcp_port); virsh sends no password where nothing is
                         encrypted: for it use --listen-tls with auth_tls = "sasl"
      --pid-file PATH    default /run/libvirtd.pid
      --timeout SECONDS  end when nobody has been connected for so long and no guest runs
  -d, --daemon           in the background: returns once it serves
      --no-autostart     start no domain by itself
      --set-user NAME    add a SASL user, or change its password (read from standard input), and end
  -h, --help             this text

Signals: SIGHUP reads the configuration anew; SIGTERM and SIGINT end the daemon, not its guests.
Exit status: 0 ended as asked; 1 it could not start.
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    system: { type: 'boolean' },
    session: { type: 'boolean' },
    socket: { type: 'string' },
    'state-dir': { type: 'string' },
    config: { type: 'string' },
    'listen-tls': { type: 'boolean' },
    'listen-tcp': { type: 'boolean' },
    'pid-file': { type: 'string' },
    timeout: { type: 'string' },
    daemon: { type: 'boolean', short: 'd' },
    'no-autostart': { type: 'boolean' },
    'set-user': { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals[0] !== undefined) throw new UsageError(`unexpected argument '${positionals[0]}'`);
  if (values.system === true && values.session === true)
    throw new UsageError('--system and --session exclude each other');
  if (values['set-user'] !== undefined) return await setUser(values['set-user']);
  const stateDir = values['state-dir'];
  if (stateDir?.startsWith('/') === false)
    throw new UsageError(`--state-dir takes an absolute path, not '${stateDir}'`);
  const timeoutS = seconds(values.timeout);
  const isSession = values.session === true || (values.system !== true && process.geteuid?.() !== 0);
  if (values.daemon === true) {
    const { startInBackground } = await import('./daemon-background.ts');
    return await startInBackground({ mode: isSession ? 'session' : 'system', stateDir });
  }
  return await serve(
    {
      mode: isSession ? 'session' : 'system',
      stateDir,
      socket: values.socket,
      configFile: values.config,
      pidFile: values['pid-file'],
      settings: switches(values['listen-tls'], values['listen-tcp']),
      activated: activatedSockets(process.env),
      autostart: values['no-autostart'] !== true,
      onNote: (note) => process.stderr.write(`nestling daemon: ${note}\n`),
    },
    timeoutS,
  );
}

/**
 * A daemon's young objects are few when somebody asks for something after a while: other threads take longer to wake than to collect them (half a millisecond of
 * a container's start). As it was before V8's code cache is written, which holds for the same flags only.
 */
function collectAlone(): Disposable {
  setFlagsFromString('--no-parallel-scavenge');
  return { [Symbol.dispose]: () => setFlagsFromString('--parallel-scavenge') };
}

async function serve(options: DaemonOptions, timeoutS: number | undefined): Promise<number> {
  using _collecting = collectAlone();
  const daemon = await Daemon.start(options);
  process.stderr.write(`nestling daemon: listening on ${daemon.addresses.join(', ')}\n`);
  (await import('./daemon-background.ts')).sayReady();
  await notifySystemd('READY=1');
  const stopped = new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve());
    if (timeoutS !== undefined) endWhenIdle(daemon, timeoutS, resolve);
  });
  process.on('SIGHUP', () => {
    daemon.reload().catch((error: unknown) => {
      options.onNote(`the configuration stays as it was: ${error instanceof Error ? error.message : String(error)}`);
    });
  });
  await stopped;
  await notifySystemd('STOPPING=1');
  await daemon[Symbol.asyncDispose]();
  return 0;
}

/** A client that comes meanwhile, or a guest, starts the wait anew. */
function endWhenIdle(daemon: Daemon, timeoutS: number, end: () => void): void {
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      daemon.isIdle().then((isIdle) => (isIdle ? end() : wait()), wait);
    }, timeoutS * 1000);
  };
  daemon.server.onIdle(wait);
  wait();
}

function switches(tls: boolean | undefined, tcp: boolean | undefined): Partial<DaemonSettings> {
  return { ...(tls === true ? { listenTls: true } : {}), ...(tcp === true ? { listenTcp: true } : {}) };
}

/** Type=notify services: told and forgotten; a service manager that does not listen keeps nobody from serving. */
async function notifySystemd(state: string): Promise<void> {
  const path = process.env['NOTIFY_SOCKET'];
  if (path === undefined || path === '') return;
  try {
    const { openDatagramSocket } = await import('../log/datagram.ts');
    using socket = await openDatagramSocket(path);
    socket.send(Buffer.from(state));
  } catch (error) {
    process.stderr.write(
      `nestling daemon: cannot tell ${path}: ${error instanceof Error ? error.message : String(error)}\n`,
    );
  }
}

async function setUser(name: string): Promise<number> {
  let password = '';
  for await (const chunk of process.stdin) password += String(chunk);
  password = password.replace(/\r?\n$/, '');
  if (password === '') throw new UsageError('the password on standard input is empty');
  await setSaslUser(DEFAULT_DAEMON_SETTINGS.saslUsersFile, name, password);
  process.stderr.write(`nestling daemon: '${name}' may connect where auth is "sasl"\n`);
  return 0;
}

function seconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text) || Number(text) === 0) throw new UsageError(`--timeout takes seconds, not '${text}'`);
  return Number(text);
}
