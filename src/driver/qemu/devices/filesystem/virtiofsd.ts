/**
 * The server process behind a virtiofs filesystem. There are two programs of that name: QEMU's own, in C, which came
 * with QEMU until 7.2, and its successor in Rust; their options differ.
 */
import type { Filesystem } from '../../../../model/domain/devices/filesystem.ts';
import { type PlanContext, refuse } from '../../context.ts';

/** The first version of QEMU that brought the C program; its successor counts from 0.1 and is at 1.x. */
const FIRST_C_MAJOR = 5;

/** Plans the server. @returns the socket on which it listens */
export function planVirtiofsd(filesystem: Filesystem, context: PlanContext): string {
  const alias = filesystem.alias?.name ?? '';
  const path = `${context.domainDir}/${alias}-fs.sock`;
  const helper = context.host.helpers.virtiofsd;
  const command = filesystem.binary?.path ?? helper?.path ?? 'virtiofsd';
  const inC = command === helper?.path && Number.parseInt(helper.version ?? '0', 10) >= FIRST_C_MAJOR;
  const options = inC ? optionsInC(filesystem) : optionsInRust(filesystem);
  context.helpers.push({
    name: `${alias}-virtiofsd`,
    command,
    args: ['--fd=3', ...options],
    // The socket listens before the server runs, so nothing has to wait for it.
    fds: [{ kind: 'listen-unix', path, blocking: true }],
  });
  context.files.push({ kind: 'socket', path });
  return path;
}

/** Options of the Rust program. */
function optionsInRust({ binary, idmap, readonly, source }: Filesystem): string[] {
  const options = [`--shared-dir=${source?.dir ?? ''}`];
  if (binary?.cache !== undefined) options.push(`--cache=${binary.cache.mode === 'none' ? 'never' : 'always'}`);
  if (binary?.sandbox !== undefined) options.push(`--sandbox=${binary.sandbox.mode}`);
  if (binary?.xattr === true) options.push('--xattr');
  // Only the old spelling has locks; the Rust program takes it for compatibility, and says so where it cannot lock.
  for (const lock of lockWords(binary)) options.push('-o', lock);
  if (binary?.threadPool?.size !== undefined) options.push(`--thread-pool-size=${binary.threadPool.size}`);
  if (binary?.openfiles !== undefined) options.push(`--rlimit-nofile=${binary.openfiles.max}`);
  for (const { start, target, count } of idmap?.uids ?? []) options.push(`--uid-map=:${start}:${target}:${count}:`);
  for (const { start, target, count } of idmap?.gids ?? []) options.push(`--gid-map=:${start}:${target}:${count}:`);
  if (readonly === true) options.push('--readonly');
  return options;
}

/** Options of the C program. */
function optionsInC({ binary, idmap, readonly, source }: Filesystem): string[] {
  if (readonly === true) refuse('the virtiofsd of QEMU 7.2 and older has no <readonly/>: install the Rust virtiofsd');
  if (idmap !== undefined) refuse('the virtiofsd of QEMU 7.2 and older has no <idmap>: install the Rust virtiofsd');
  // Its option parser splits at commas, and a backslash takes the next character as it is.
  const words = [`source=${(source?.dir ?? '').replace(/[\\,]/g, '\\$&')}`];
  if (binary?.cache !== undefined) words.push(`cache=${binary.cache.mode}`);
  if (binary?.sandbox !== undefined) words.push(`sandbox=${binary.sandbox.mode}`);
  if (binary?.xattr !== undefined) words.push(binary.xattr ? 'xattr' : 'no_xattr');
  words.push(...lockWords(binary));
  const options = ['-o', words.join(',')];
  if (binary?.threadPool?.size !== undefined) options.push(`--thread-pool-size=${binary.threadPool.size}`);
  if (binary?.openfiles !== undefined) options.push(`--rlimit-nofile=${binary.openfiles.max}`);
  return options;
}

function lockWords(binary: Filesystem['binary']): string[] {
  const words: string[] = [];
  if (binary?.lock?.flock !== undefined) words.push(binary.lock.flock ? 'flock' : 'no_flock');
  if (binary?.lock?.posix !== undefined) words.push(binary.lock.posix ? 'posix_lock' : 'no_posix_lock');
  return words;
}
