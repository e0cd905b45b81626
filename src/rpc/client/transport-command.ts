/**
 * A program whose standard input and output are the connection: ssh with a small script on the other side, or whatever the URI's
 * `command` names.
 */
import { Duplex, type Readable, type Writable } from 'node:stream';
import type { RemoteUri } from '../../api/uri.ts';
import type { ChildHandle } from '../../process/child-handle.ts';
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
    return {
      stream: new ProgramStream(child),
      encrypted: true,
      lastWords: () => child.result?.stderrTail.trim() ?? '',
    };
  } catch (error) {
    if (!(error instanceof ProcessError)) throw error;
    const fix = uri.transport === 'ssh' ? '; install openssh-client, or give command=PROGRAM' : '';
    throw noConnection(uri, `${error.message}${fix}`, error);
  }
}

/** Milliseconds that a program may take to end after its output has. */
const LAST_WORDS_MS = 1000;

/** A program's output and input as one stream. It ends when the program has: its last words are known by then. */
class ProgramStream extends Duplex {
  readonly #child: ChildHandle;
  readonly #input: Writable;
  readonly #output: Readable;

  constructor(child: ChildHandle) {
    super();
    this.#child = child;
    this.#input = child.writable(0);
    this.#output = child.readable(1);
    this.#output.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) this.#output.pause();
    });
    this.#output.once('close', () => void this.#ended());
  }

  override _read(): void {
    this.#output.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // A broken pipe is the program's end, which its output tells.
    this.#input.write(chunk, () => done());
  }

  override _final(done: () => void): void {
    this.#input.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#input.destroy();
    this.#output.destroy();
    void this.#dispose(error, done);
  }

  async #dispose(error: Error | null, done: (error: Error | null) => void): Promise<void> {
    try {
      await this.#child[Symbol.asyncDispose]();
    } catch {
      // It is gone either way.
    }
    done(error);
  }

  async #ended(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_WORDS_MS);
    });
    await Promise.race([this.#child.exited, patience]);
    clearTimeout(timer);
    if (!this.destroyed) this.push(null);
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
