/**
 * Network namespaces that stand for guests, the host and the outside, for programs which run in the namespace that is the host. A peer is a process of this same
 * program in a namespace of its own, told over its standard input what to do; it ends with its parent. It serves: who connects is told by which address it was seen.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export interface Probe {
  /** `load`: how many kilobytes a second? */
  readonly protocol: 'tcp' | 'udp' | 'ping' | 'load';
  readonly address: string;
  readonly port?: number;
  /** `load`: when to begin counting, so that several count at once. */
  readonly fromMs?: number;
}

/** What is refused by a rule is refused at once; what is dropped is waited for so long. */
const SILENCE_MS = 400;
const SERVED_PORTS = [22, 53, 67, 7777];
/** Sends as much as is taken. */
const LOAD_PORT = 9000;
const LOAD_MS = 500;

/** Asks: by whom was I seen? `refused`, `silence`, or the error's code. */
export async function ask({ protocol, address, port = 7777, fromMs = 0 }: Probe): Promise<string> {
  if (protocol === 'ping') return await ping(address);
  if (protocol === 'load') return await load(address, fromMs);
  return await (protocol === 'tcp' ? askTcp(address, port) : askUdp(address, port));
}

/** Not waited for idly: this process serves meanwhile. */
async function ping(address: string): Promise<string> {
  const name = address.includes(':') ? 'ping6' : 'ping';
  return await promisify(execFile)('busybox', [name, '-c', '1', '-W', '1', address]).then(
    () => 'answered',
    () => 'refused',
  );
}

async function load(host: string, fromMs: number): Promise<string> {
  const socket = connect({ host, port: LOAD_PORT });
  socket.on('error', () => {});
  let bytes = 0;
  socket.on('data', (data) => {
    bytes += data.length;
  });
  await once(socket, 'connect');
  await after(fromMs - Date.now());
  const since = performance.now();
  bytes = 0;
  await after(LOAD_MS);
  socket.destroy();
  return String(Math.round(bytes / (performance.now() - since)));
}

async function after(durationMs: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, Math.max(0, durationMs));
  });
}

async function askTcp(host: string, port: number): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (word: string): void => {
      socket.destroy();
      resolve(word);
    };
    socket.setTimeout(SILENCE_MS, () => end('silence'));
    socket.once('data', (data) => end(String(data)));
    socket.once('error', (error) => end(wordOf(error)));
    socket.once('end', () => end('ended'));
  });
}

async function askUdp(address: string, port: number): Promise<string> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve('silence'), SILENCE_MS);
      const end = (word: string): void => {
        clearTimeout(timer);
        resolve(word);
      };
      socket.once('message', (data) => end(String(data)));
      socket.once('error', (error) => end(wordOf(error)));
      socket.connect(port, address, () => socket.send('who?'));
    });
  } finally {
    socket.close();
  }
}

function wordOf(error: Error): string {
  const code = 'code' in error ? String(error.code) : error.message;
  return code === 'ECONNREFUSED' ? 'refused' : code;
}

/** Serves on some ports, TCP and UDP, both families. */
export async function serve(): Promise<void> {
  const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');
  for (const port of SERVED_PORTS) {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(plain(socket.remoteAddress));
    });
    server.listen(port, '::');
    await once(server, 'listening');
    const datagrams: DatagramSocket = createSocket('udp6');
    datagrams.on('message', (_, { address, port: from }) => datagrams.send(plain(address), from, address));
    datagrams.bind(port, '::');
    await once(datagrams, 'listening');
  }
}

/** Serves one who wants much. */
export async function serveLoad(): Promise<void> {
  const block = Buffer.alloc(64 * 1024);
  const server = createServer((socket) => {
    const send = (): void => {
      while (!socket.destroyed && socket.write(block));
    };
    socket.on('error', () => {});
    socket.on('drain', send);
    send();
  });
  server.listen(LOAD_PORT, '::');
  await once(server, 'listening');
}

export class Peer implements Disposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new TypeError('no pipe');
    this.#answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  static async start(): Promise<Peer> {
    const child = spawn('unshare', ['-n', process.execPath, process.argv[1] ?? '', 'peer'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const peer = new Peer(child);
    await peer.#read();
    return peer;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Runs a command there. */
  run(command: string, ...args: string[]): string {
    return execFileSync('nsenter', ['-n', '-t', String(this.pid), command, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  async ask(probe: Probe): Promise<string> {
    this.#child.stdin?.write(`${JSON.stringify(probe)}\n`);
    return await this.#read();
  }

  async #read(): Promise<string> {
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('the peer has ended');
    return value;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}

/** What the program does when it is started as a peer; ends with its standard input. */
export async function bePeer(): Promise<void> {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  await serve();
  await serveLoad();
  process.stdout.write('ready\n');
  for await (const line of createInterface(process.stdin)) {
    process.stdout.write(`${await ask(JSON.parse(line) as Probe)}\n`);
  }
  process.exit();
}
