/** Packing and unpacking roots with GNU tar: owners by number, extended attributes, devices. Which root, and where, is the caller's business. */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { lookUpProgram } from '../process/find-program.ts';
import { explainBuilder } from './builder-words.ts';
import { failed, tarballName } from './image-store.ts';
import { type IdShift, runIsolated } from './isolated.ts';

const KEEP = ['--numeric-owner', '--xattrs', '--xattrs-include=*'];

/**
 * GNU tar's arguments for unpacking into an empty folder. It refuses members with `..`, takes the slash off absolute ones, and makes links
 * that lead out only after everything else: no entry gets outside. Pure.
 */
export function unpackArgs(
  tarball: string,
  folder: string,
  { isShifted = false }: { isShifted?: boolean } = {},
): string[] {
  return [
    '--extract',
    ...(tarball === '-' ? ['--file=-'] : [`--file=${tarball}`]),
    ...KEEP,
    '--same-permissions',
    '--same-owner',
    // Devices cannot be made there, and containers get their own.
    ...(isShifted ? ['--exclude=./dev/*', '--exclude=dev/*'] : []),
    '--directory',
    folder,
  ];
}

/** @throws VirtError OPERATION_FAILED with tar's words; the signal's reason */
export async function unpackTarball(
  tarball: string,
  folder: string,
  { ids, signal }: { ids?: IdShift | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  requireUnpacker(tarball);
  const result = await runIsolated(
    {
      command: 'tar',
      // With shifted ids it may not open the file itself; tar recognizes compression by the name only then.
      args:
        ids === undefined
          ? unpackArgs(tarball, folder)
          : [...decompressionOf(tarball), ...unpackArgs('-', '.', { isShifted: true })],
      ...(ids !== undefined && { ids, cwd: folder, stdio: [{ path: tarball, flags: 'r' }, 'pipe', 'pipe'] as const }),
    },
    { signal },
  );
  if (result.exitCode !== 0) throw failed(`cannot unpack ${tarball}: ${explainBuilder(result.words).cause}`);
}

function decompressionOf(tarball: string): string[] {
  const [, suffix = ''] = /\.tar\.(\w+)$/.exec(tarball) ?? [];
  return { zst: ['--zstd'], gz: ['--gzip'], xz: ['--xz'], bz2: ['--bzip2'] }[suffix] ?? [];
}

function requireUnpacker(tarball: string): void {
  const [, suffix = ''] = /\.(?:tar\.)?(zst|xz|gz|bz2|tgz|txz)$/.exec(tarball) ?? [];
  const program = { zst: 'zstd', xz: 'xz', txz: 'xz', gz: 'gzip', tgz: 'gzip', bz2: 'bzip2' }[suffix];
  if (program === undefined || lookUpProgram(program) !== undefined) return;
  throw failed(
    `cannot unpack ${tarball}: ${program} not found; apt-get install ${program === 'xz' ? 'xz-utils' : program}`,
    ErrorCode.OPERATION_FAILED,
  );
}

/**
 * Packs a folder, or what an overlay shows, to a tarball in `target`.
 * @returns its file name, and the SHA-256 of its content
 */
export async function packFolder(
  target: string,
  what: { folder: string } | { overlay: string },
  signal?: AbortSignal,
): Promise<{ tarball: string; hash: string }> {
  const tarball = tarballName(lookUpProgram('zstd') !== undefined);
  const output = join(target, tarball);
  // Holes (lastlog has large ones) stay holes.
  const pack = ['--create', '--auto-compress', '--sparse', `--file=${output}`, ...KEEP];
  pack.push('--sort=name', '--one-file-system');
  const merged = join(target, 'merged');
  mkdirSync(merged, { recursive: true });
  const result = await runIsolated(
    'folder' in what
      ? { command: 'tar', args: [...pack, '--directory', what.folder, '.'] }
      : {
          command: 'sh',
          args: [
            '-c',
            'set -e; mount -t overlay -o "$1" overlay "$2"; shift; d=$1; shift; exec tar "$@" --directory "$d" .',
            'pack',
            what.overlay,
            merged,
            ...pack,
          ],
        },
    { signal },
  );
  if (result.exitCode !== 0) throw failed(`cannot pack the root: ${explainBuilder(result.words).cause}`);
  return { tarball, hash: await hashFile(output) };
}

/** SHA-256 in hexadecimal. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}
