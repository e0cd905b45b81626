/**
 * QEMU started by hand, without Nestling: what the tests of the guests themselves need, and what others compare with.
 * It is not an example of how to run QEMU; `src/driver/qemu` is.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, type Readable, type Writable } from 'node:stream';
import { StreamText, type WaitOptions } from './until.ts';

export interface RawQemu extends AsyncDisposable {
  process: ChildProcess;
  /** What the guest says on its first serial port. */
  serial: StreamText;
  /** What is written here arrives at the guest's first serial port. */
  input: Writable;
  /** QEMU's own words. */
  errors: StreamText;
  /** Exit status when QEMU has ended; rejects with what the guest said last when that takes too long. */
  exit: (options?: WaitOptions) => Promise<number | null>;
  /** Sends a QMP command without arguments; resolves with the line of its reply. */
  command: (name: string) => Promise<string>;
}

/** Starts `qemu-system-x86_64` under TCG without default devices, serial port on its stdin and stdout, QMP on an inherited socket. */
export async function startRawQemu(args: readonly string[]): Promise<RawQemu> {
  const base = ['-no-user-config', '-nodefaults', '-accel', 'tcg', '-display', 'none', '-serial', 'stdio'];
  const monitor = ['-chardev', 'socket,id=monitor,fd=3', '-mon', 'chardev=monitor,mode=control'];
  const process = spawn('qemu-system-x86_64', [...base, ...monitor, ...args], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  await once(process, 'spawn');
  const socket = process.stdio[3];
  if (!process.stdout || !process.stderr || !process.stdin || !(socket instanceof Duplex)) {
    throw new TypeError('start QEMU: the child has no pipes');
  }
  // A guest may be killed while something is written to it; that is the tests' business, not an uncaught error.
  for (const stream of [process.stdin, socket]) stream.on('error', () => undefined);
  const command = qmpCommands(socket);
  const closed = once(process, 'close');
  const streams = openStreams(process.stdout, process.stderr);
  await command('qmp_capabilities');
  const stop = async (): Promise<void> => {
    process.kill('SIGKILL');
    await closed;
  };
  const exit = async (options?: WaitOptions): Promise<number | null> => {
    await streams.serial.untilEnd(options);
    await closed;
    return process.exitCode;
  };
  return { process, ...streams, input: process.stdin, exit, command, [Symbol.asyncDispose]: stop };
}

function openStreams(stdout: Readable, stderr: Readable): { serial: StreamText; errors: StreamText } {
  return { serial: new StreamText(stdout), errors: new StreamText(stderr) };
}

function qmpCommands(socket: Duplex): (name: string) => Promise<string> {
  const replies = new StreamText(socket);
  let last = 0;
  return async (name) => {
    last += 1;
    socket.write(`${JSON.stringify({ execute: name, id: last })}\n`);
    return await replies.until(new RegExp(`.*"id": ${last}\\b.*`));
  };
}
