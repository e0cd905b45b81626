/**
 * Turns a plan's descriptor requests into a child's stdio: pipes the caller keeps the other end of, opened files,
 * listening sockets, secrets in files that have no name any more. What was opened here is closed once QEMU runs.
 */
import { closeSync, fchownSync, linkSync, openSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { MAX_SOCKET_PATH_BYTES } from '../../../core/fs.ts';
import { randomHex } from '../../../core/random.ts';
import { socketFd } from '../../../core/socket-messages.ts';
import type { SecretReference } from '../../../guest/secret-store.ts';
import { makeBlocking } from '../../../process/blocking.ts';
import type { ChildStdio } from '../../../process/spawn.ts';
import type { FdRequest } from '../plan/parts.ts';

/** What the requests are answered with. */
export interface FdSources {
  resolveSecret(reference: SecretReference): Uint8Array;
  readonly masterKey: Uint8Array;
  /** Private folder on tmpfs for content on its way to QEMU. */
  readonly scratchDir: string;
  /** Who is to read that content, where it is not this user: it opens the descriptor by its name in /dev/fd. */
  readonly reader?: { readonly uid: number; readonly gid: number } | undefined;
  /** Opens a host network device. Absent: such requests are refused. */
  openNetworkDevice?(request: FdRequest & { kind: 'tap' | 'vhost-net' | 'vhost-vsock' }): Promise<number>;
}

export interface InheritedFds extends Disposable {
  /** From fd 3 on. */
  readonly stdio: readonly ChildStdio[];
  /** Number in QEMU of each socket pair, by its name. */
  readonly streams: ReadonlyMap<string, number>;
  /** Gives listening sockets their paths: to be called once QEMU has inherited them. */
  publish(): void;
}

/** Opens everything; on failure nothing stays open. */
export async function prepareFds(requests: readonly FdRequest[], sources: FdSources): Promise<InheritedFds> {
  const fds = new PreparedFds();
  try {
    for (const request of requests) fds.add(request, await prepareOne(request, sources, fds));
    return fds;
  } catch (error) {
    fds[Symbol.dispose]();
    throw error;
  }
}

class PreparedFds implements InheritedFds {
  readonly stdio: ChildStdio[] = [];
  readonly streams = new Map<string, number>();
  readonly owned: number[] = [];
  readonly servers: { server: Server; temporary: string; path: string }[] = [];

  add(request: FdRequest, stdio: ChildStdio): void {
    if (request.kind === 'socketpair') this.streams.set(request.name, 3 + this.stdio.length);
    this.stdio.push(stdio);
  }

  publish(): void {
    for (const { temporary, path } of this.servers) {
      rmSync(path, { force: true });
      linkSync(temporary, path);
    }
  }

  /** Closing a server unlinks its temporary name only: the published one is QEMU's. */
  [Symbol.dispose](): void {
    for (const fd of this.owned.splice(0)) closeSync(fd);
    for (const { server } of this.servers.splice(0)) server.close();
  }
}

async function prepareOne(request: FdRequest, sources: FdSources, fds: PreparedFds): Promise<ChildStdio> {
  switch (request.kind) {
    case 'socketpair':
      return 'pipe';
    case 'spare':
      return 'ignore';
    case 'file':
      return { path: request.path, flags: request.flags };
    case 'secret':
      return { fd: nameless(await contentOf(request, sources), sources, fds) };
    case 'master-key':
      return { fd: nameless(sources.masterKey, sources, fds) };
    case 'listen-unix':
      return { fd: await listen(request, fds) };
    default: {
      if (sources.openNetworkDevice === undefined) {
        throw new VirtError(`cannot open a ${request.kind} device for the guest here`, { code: ErrorCode.NO_SUPPORT });
      }
      const fd = await sources.openNetworkDevice(request);
      fds.owned.push(fd);
      return { fd };
    }
  }
}

/** Encrypted with the guest's master key where the plan says so: then nothing in clear passes through a file. */
async function contentOf(
  { secret, iv, format }: FdRequest & { kind: 'secret' },
  sources: FdSources,
): Promise<Uint8Array> {
  const value = secret.value === undefined ? sources.resolveSecret(secret) : Buffer.from(secret.value);
  if (iv !== undefined) {
    const { encryptSecret } = await import('../devices/secret-encryption.ts');
    return encryptSecret(value, sources.masterKey, iv);
  }
  return format === 'base64' ? Buffer.from(Buffer.from(value).toString('base64')) : value;
}

/** A file that only descriptors lead to: QEMU reads it as /dev/fd/N, nobody else can. */
function nameless(content: Uint8Array, { scratchDir, reader }: FdSources, fds: PreparedFds): number {
  const path = join(scratchDir, `.${randomHex(8)}`);
  const fd = openSync(path, 'wx+', 0o600);
  fds.owned.push(fd);
  unlinkSync(path);
  writeSync(fd, content, 0, content.length, 0);
  if (reader !== undefined) fchownSync(fd, reader.uid, reader.gid);
  return fd;
}

async function listen({ path, blocking }: FdRequest & { kind: 'listen-unix' }, fds: PreparedFds): Promise<number> {
  const temporary = `${path}.new`;
  if (Buffer.byteLength(temporary) > MAX_SOCKET_PATH_BYTES) {
    throw new VirtError(
      `cannot listen on ${path}: the path has ${Buffer.byteLength(path)} bytes and sockets may have ${MAX_SOCKET_PATH_BYTES - 4}; choose a shorter path`,
      { code: ErrorCode.INVALID_ARG },
    );
  }
  rmSync(temporary, { force: true });
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new VirtError(`cannot listen on ${path}: ${cause.message}`, { code: ErrorCode.SYSTEM_ERROR, cause })),
    );
    server.listen(temporary, resolve);
  });
  fds.servers.push({ server, temporary, path });
  const fd = socketFd(server);
  if (fd === undefined)
    throw new VirtError(`cannot listen on ${path}: no descriptor`, { code: ErrorCode.INTERNAL_ERROR });
  // Nobody can connect before the socket gets its name, so this process never waits in accept(2).
  if (blocking === true) await makeBlocking(fd);
  return fd;
}
