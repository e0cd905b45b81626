/**
 * A server that does nothing with the bytes of volumes: it takes uploads and forgets them, answers downloads from memory, and leaves all
 * else to a real server behind it. What a client takes with this one it takes with any.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import {
  encodeFrameHead,
  encodeRawFrame,
  FrameReader,
  type Header,
  MessageStatus,
  MessageType,
  REMOTE_PROCEDURES,
  STREAM_CHUNK,
} from '../../src/protocol/index.ts';
import { readConnection } from '../../src/rpc/server/read-buffers.ts';

const NOTHING = Buffer.alloc(0);

/** Listens at `path`. */
export async function startStreamFloor(path: string, target: string, volumeBytes: number): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    sockets.add(upstream);
    upstream.on('error', () => upstream.destroy());
    const reader = new FrameReader();
    const input = readConnection(client, (chunk) => {
      for (const frame of reader.push(chunk)) {
        if (!isOfStream(frame.header)) upstream.write(encodeRawFrame(frame.header, Buffer.from(frame.payload.rest())));
        else answer(frame.header, input.stream, volumeBytes);
      }
    });
    input.stream.on('error', () => upstream.destroy());
    input.stream.on('close', () => upstream.destroy());
    upstream.on('data', (chunk) => input.stream.write(chunk));
    upstream.on('close', () => input.stream.destroy());
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function isOfStream({ procedure }: Header): boolean {
  return (
    procedure === REMOTE_PROCEDURES.storageVolUpload.number || procedure === REMOTE_PROCEDURES.storageVolDownload.number
  );
}

function answer(header: Header, client: NodeJS.WritableStream, volumeBytes: number): void {
  if (header.type === MessageType.CALL) {
    client.write(encodeRawFrame({ ...header, type: MessageType.REPLY, status: MessageStatus.OK }, NOTHING));
    if (header.procedure === REMOTE_PROCEDURES.storageVolDownload.number) void sendVolume(header, client, volumeBytes);
  } else if (header.status === MessageStatus.OK) client.write(encodeRawFrame(header, NOTHING));
}

async function sendVolume(call: Header, client: NodeJS.WritableStream, volumeBytes: number): Promise<void> {
  const header = { ...call, type: MessageType.STREAM, status: MessageStatus.CONTINUE };
  const data = Buffer.alloc(STREAM_CHUNK, 'x');
  for (let left = volumeBytes; left > 0; left -= data.length) {
    const piece = data.subarray(0, Math.min(left, data.length));
    client.write(encodeFrameHead(header, piece.length));
    if (!client.write(piece)) await once(client, 'drain');
  }
  client.write(encodeRawFrame(header, NOTHING));
}
