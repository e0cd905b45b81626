/**
 * A program whose standard input and output are the connection: ssh with a small script on the other side, or whatever the URI's
 * `command` names.
 */
import { Duplex } from 'node:stream';
import type { RemoteUri } from '../../api/uri.ts';
import { ProcessError } from '../../process/process-error.ts';
import { spawnChild } from '../../process/spawn.ts';
import { noConnection, type OpenTransport, type TransportOptions } from './transport.ts';

/** sshauth's names in OpenSSH's words. */
const SSH_METHODS: Readonly<Record<string, string>> = {
  agent: 'publickey',
  privkey: 'publickey',
  password: 'password',
  'keyboard-interactive': 'keyboard-interactive',
};

export async function connectCommand(uri: RemoteUri, options: TransportOptions): Promise<OpenTransport> {
  const [command = '', ...args] = commandLine(uri, options.readOnly);
  try {
    const child = await spawnChild(
      { command, args, stdio: ['pipe', 'pipe', 'tail'], dieWithParent: true },
      { signal: options.signal },
    );
    const stream = Duplex.from({ readable: child.readable(1), writable: child.writable(0) });
    stream.once('close', () => void child[Symbol.asyncDispose]());
    return { stream, encrypted: true, lastWords: () => child.result?.stderrTail.trim() ?? '' };
  } catch (error) {
    if (!(error instanceof ProcessError)) throw error;
    const fix = uri.transport === 'ssh' ? '; install openssh-client, or give command=PROGRAM' : '';
    throw noConnection(uri, `${error.message}${fix}`, error);
  }
}

/** The program and its arguments. Pure. */
export function commandLine(uri: RemoteUri, readOnly: boolean): string[] {
  const { parameters } = uri;
  if (uri.transport === 'ext') return [parameters.command ?? ''];
  const options: string[] = ['-T', '-e', 'none'];
  const option = (text: string): void => void options.push('-o', text);
  if (uri.port !== undefined) options.push('-p', String(uri.port));
  if (uri.user !== undefined) options.push('-l', uri.user);
  if (parameters.keyfile !== undefined) options.push('-i', parameters.keyfile);
  if (parameters.noTty) option('BatchMode=yes');
  if (parameters.noVerify || parameters.knownHostsVerify === 'ignore') option('StrictHostKeyChecking=no');
  else if (parameters.knownHostsVerify === 'auto') option('StrictHostKeyChecking=accept-new');
  if (parameters.knownHosts !== undefined) option(`UserKnownHostsFile=${parameters.knownHosts}`);
  const methods = (parameters.sshauth ?? []).flatMap((name) => SSH_METHODS[name] ?? []);
  if (methods.length > 0) option(`PreferredAuthentications=${[...new Set(methods)].join(',')}`);
  const script = `sh -c ${quote(remoteScript(uri, readOnly))}`;
  return [parameters.command ?? 'ssh', ...options, '--', uri.host ?? '', script];
}

/** What the other side runs: libvirt's own helper where there is one, else netcat on the daemon's socket. */
export function remoteScript(uri: RemoteUri, readOnly: boolean): string {
  const { proxy, socket, netcat = 'nc' } = uri.parameters;
  const native = `exec virt-ssh-helper ${readOnly ? '-r ' : ''}${quote(uri.serverUri)}`;
  if (proxy === 'native') return native;
  const nc = quote(netcat);
  const viaNetcat = [
    socketScript(uri, readOnly),
    `if ${nc} -q 2>&1 | grep -q 'requires an argument'; then exec ${nc} -q0 -U "$s"; else exec ${nc} -U "$s"; fi`,
  ].join('; ');
  // The helper finds the socket by itself; one that the user names is for netcat.
  if (proxy === 'netcat' || socket !== undefined || uri.parameters.netcat !== undefined) return viaNetcat;
  return `if command -v virt-ssh-helper >/dev/null 2>&1; then ${native}; fi; ${viaNetcat}`;
}

function socketScript({ driver, path, parameters }: RemoteUri, readOnly: boolean): string {
  if (parameters.socket !== undefined) return `s=${quote(parameters.socket)}`;
  const isSession = path === '/session';
  const suffix = readOnly && !isSession ? '-ro' : '';
  const dir = isSession ? '"${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"/libvirt' : '/run/libvirt';
  const direct = `s=${dir}/virt${driver === 'test' ? 'qemu' : driver}d-sock${suffix}`;
  const legacy = `s=${dir}/libvirt-sock${suffix}`;
  if (parameters.mode === 'direct') return direct;
  return parameters.mode === 'legacy' ? legacy : `${direct}; test -S "$s" || ${legacy}`;
}

/** A word for the shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
