import { closeSync, fstatSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeRights, encodeRights, rightsBytes } from './fd-rights.ts';
import { randomHex } from './random.ts';
import { EAGAIN, loadSocketMessages, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, socketFd } from './socket-messages.ts';

describe('messages over sockets of Node', () => {
  let server: Server;
  let near: Socket;
  let far: Socket;
  const path = join(tmpdir(), `nestling-messages-${randomHex(8)}`);

  beforeEach(async () => {
    server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    near = connect(path);
    far = await accepted;
  });
  afterEach(() => {
    near.destroy();
    far.destroy();
    server.close();
    rmSync(path, { force: true });
  });

  it('bring a descriptor with their bytes, once, to the same file', async () => {
    const messages = await loadSocketMessages();
    const [from, to] = [socketFd(near) ?? -1, socketFd(far) ?? -1];
    const bytes = Buffer.alloc(16);
    const control = Buffer.alloc(rightsBytes(1));
    expect(messages.receive(to, bytes, control, MSG_DONTWAIT)).toBe(-EAGAIN);
    const fd = openSync('/dev/null', 'r');
    expect(messages.send(from, Buffer.from('hello'), encodeRights([fd]), MSG_DONTWAIT)).toBe(5);
    expect(messages.receive(to, bytes, control, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)).toBe(5);
    expect(bytes.toString('utf8', 0, 5)).toBe('hello');
    const [received = -1] = decodeRights(control);
    expect(received).not.toBe(fd);
    expect(fstatSync(received).rdev).toBe(fstatSync(fd).rdev);
    closeSync(fd);
    closeSync(received);
  });

  it('know no descriptor of what is closed or is no socket', async () => {
    expect(socketFd(server)).toBeGreaterThan(2);
    const closed = new Promise((resolve) => near.once('close', resolve));
    near.destroy();
    await closed;
    expect(socketFd(near)).toBe(undefined);
    expect(socketFd({})).toBe(undefined);
  });
});
