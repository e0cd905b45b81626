/**
 * Holds a port of the host for a forward: nobody else takes it, two forwards cannot have it, and what comes to it although rules should have sent it on is
 * answered. The rules send on all but connections to the IPv6 loopback address, which the kernel does not route: those are carried here.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';

export interface PortName {
  readonly proto: 'tcp' | 'udp';
  /** Of the host; undefined: all. */
  readonly address?: string | undefined;
  readonly port: number;
}

export interface GuestEnd {
  readonly address: string;
  readonly port: number;
}

/** `tcp port 2222 of 192.0.2.1`. */
export function describePort({ proto, address, port }: PortName): string {
  return `${proto} port ${port}${address === undefined ? '' : ` of ${address}`}`;
}

export class ReservedPort implements AsyncDisposable {
  readonly #close: () => void;
  #guest: GuestEnd | undefined;

  private constructor(open: (carry: (socket: Socket) => void) => () => void) {
    this.#close = open((socket) => this.#carry(socket));
  }

  /** @throws VirtError RESOURCE_BUSY where the port is taken, OPERATION_FAILED for an address that the host does not have */
  static async take(name: PortName): Promise<ReservedPort> {
    try {
      return await take(name, name.address ?? '::');
    } catch (error) {
      // Without IPv6 there is no address of both families.
      const isAbsent = name.address === undefined && ['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(error));
      if (!isAbsent) throw refusal(name, error);
      return await take(name, '0.0.0.0').catch((second: unknown) => {
        throw refusal(name, second);
      });
    }

    async function take({ proto, port }: PortName, host: string): Promise<ReservedPort> {
      const opened = await (proto === 'tcp' ? listen(host, port) : bind(host, port));
      return new ReservedPort((carry) => {
        if ('on' in opened && 'listening' in opened) opened.on('connection', carry);
        return () => void opened.close();
      });
    }
  }

  /** Where connections go that no rule sends on; undefined: nowhere. */
  set guest(guest: GuestEnd | undefined) {
    this.#guest = guest;
  }

  #carry(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    // Anybody else has come around the rules, or before the guest had an address.
    if (this.#guest === undefined || socket.remoteAddress !== '::1') return void socket.resetAndDestroy();
    const onward = connect({ host: this.#guest.address, port: this.#guest.port });
    onward.on('error', () => socket.resetAndDestroy());
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
  }
}

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  // Others keep the program running, if anything does.
  return server.unref();
}

async function bind(host: string, port: number): Promise<DatagramSocket> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: host, port, exclusive: true }, resolve);
  });
  return socket.unref();
}

function refusal(name: PortName, cause: unknown): VirtError {
  const code = codeOf(cause);
  const fixes: Readonly<Record<string, string>> = {
    EADDRINUSE: `something on this host has it already (ss -lnp 'sport = :${name.port}'): choose another port or address`,
    EADDRNOTAVAIL: 'this host does not have that address: leave it out, or name one of its own',
    EACCES: 'ports below 1024 need root, or net.ipv4.ip_unprivileged_port_start',
  };
  return new VirtError(`cannot forward ${describePort(name)}: ${code}: ${fixes[code] ?? 'it cannot be listened on'}`, {
    code: code === 'EADDRINUSE' ? ErrorCode.RESOURCE_BUSY : ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.NETWORK,
    cause,
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
