/**
 * Changes the file systems of a running container. A mount namespace can only be entered by a thread that shares its root and working directory
 * with no other, and programs started in there would be the container's: so a thread of this process does it, and ends.
 */
import { closeSync, openSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { Worker } from 'node:worker_threads';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { errnoOf } from '../../../process/process-error.ts';
import { carryOutInside, type InsideFailure, type InsideInput, type InsideTask } from './inside-task.ts';

const log = new LogSource('lxc.lxc_process');

export interface InsideOptions {
  /** First process of the container, by this process's numbers. */
  readonly initPid: number;
  /** User and group of the host that the container's root is; default: the host's root. */
  readonly owner?: readonly [uid: number, gid: number] | undefined;
}

/**
 * Carries out one change. Takes 40 ms, most of it for the thread.
 * @throws VirtError OPERATION_INVALID where the container has ended or has no namespace of its own; SYSTEM_ERROR where the kernel refuses
 */
export async function changeMounts(task: InsideTask, { initPid, owner = [0, 0] }: InsideOptions): Promise<void> {
  log.debug('changeMounts', () => `${task.kind} ${task.target} in the namespace of process ${initPid}`);
  const namespace = openNamespace(initPid);
  try {
    const failure = await runThread({ task, namespace, owner });
    if (failure !== undefined) throw refusal(task, failure);
  } finally {
    closeSync(namespace);
  }
}

function openNamespace(pid: number): number {
  const path = `/proc/${pid}/ns/mnt`;
  try {
    if (statSync(path).ino !== statSync('/proc/self/ns/mnt').ino) return openSync(path, 'r');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error;
    throw invalid('the container has ended', error);
  }
  throw invalid("the container's process has the mounts of the host");
}

function invalid(why: string, cause?: unknown): VirtError {
  return new VirtError(`cannot change the container's file systems: ${why}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.LXC,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The text of the function runs on its own in the thread. */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const carryOut = ${String(carryOutInside)};
const failure = carryOut(require(workerData.koffi), require('node:fs'), workerData.input);
parentPort.postMessage({ failure });
`;

async function runThread(input: InsideInput): Promise<InsideFailure | undefined> {
  // Bundles are CommonJS or modules.
  const here = typeof __filename === 'string' ? __filename : import.meta.url;
  const koffi = createRequire(here).resolve('koffi');
  const worker = new Worker(PROGRAM, { eval: true, workerData: { koffi, input }, stdin: false });
  return await new Promise((resolve, reject) => {
    let answer: { failure?: InsideFailure } | undefined;
    worker.once('message', (message: { failure?: InsideFailure }) => {
      answer = message;
    });
    worker.once('error', reject);
    worker.once('exit', (code) => {
      if (answer === undefined) reject(new Error(`the thread for the container's mounts ended with status ${code}`));
      else resolve(answer.failure);
    });
  });
}

/** What the kernel's refusals mean here. */
const REASONS: Readonly<Record<string, string>> = {
  'open_tree ENOENT': 'there is no such file or directory on the host',
  'open_tree ENOSYS': 'this needs Linux 5.12 or later',
  'mount_setattr ENOSYS': 'this needs Linux 5.12 or later',
  'setns EPERM': 'this needs root',
  'unshare EPERM': 'this needs root',
  'umount EINVAL': 'nothing is mounted there',
  'stat ENOENT': 'there is no such file or directory on the host',
  'move_mount ENOTDIR': 'one is a directory and the other is not',
};

function refusal(task: InsideTask, { call, errno }: InsideFailure): VirtError {
  const name = getSystemErrorName(-errno);
  const reason = REASONS[`${call} ${name}`];
  const what = task.kind === 'unmount' ? 'detach' : `attach ${'source' in task ? `${task.source} ` : ''}to`;
  const message = `cannot ${what} ${task.target} of the container: ${call}: ${name}${reason === undefined ? '' : ` (${reason})`}`;
  return new VirtError(message, { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.LXC, int1: errno });
}
