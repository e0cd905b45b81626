/** Takes images from elsewhere into the store: a root's tarball, or an OCI or docker image, whose layers are put together by an overlay. */
import { copyFileSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { findProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';
import { findArchitecture } from './architecture.ts';
import { isDockerArchive, readDockerArchive } from './docker-archive.ts';
import { requireImageName } from './image-name.ts';
import { failed, type Image, ImageStore, keyOfContent } from './image-store.ts';
import { readOciLayout } from './oci-layout.ts';
import { applyWhiteouts } from './oci-whiteouts.ts';
import { overlayOptions } from './private-root.ts';
import { hashFile, packFolder, unpackTarball } from './tarballs.ts';

export interface ImportOptions {
  readonly store?: ImageStore | undefined;
  readonly arch?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Imports `source`: a tarball, an OCI layout directory, a tar of one, or what an older `docker save` wrote.
 * @throws VirtError INVALID_ARG for what is neither, OPERATION_FAILED for damaged layers and entries that lead out
 */
export async function importImage(name: string, source: string, options: ImportOptions = {}): Promise<Image> {
  requireImageName(name);
  if (process.getuid?.() !== 0)
    throw failed(
      `importing ${name} needs root: images have files of many users; run it with sudo`,
      ErrorCode.OPERATION_DENIED,
    );
  const path = resolve(source);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw failed(`there is no ${path}`, ErrorCode.INVALID_ARG);
  const store = options.store ?? new ImageStore();
  if (stats.isDirectory()) {
    if (!existsSync(join(path, 'index.json')) && !isDockerArchive(path))
      throw failed(
        `${path} is no OCI image layout: it has no index.json; a root's own folder is packed first: tar -C ${path} -cf root.tar .`,
        ErrorCode.INVALID_ARG,
      );
    return await importLayers(store, name, path, options);
  }
  const members = await listTarball(path, options.signal);
  const out = members.find((member) => member.startsWith('/') || member.split('/').includes('..'));
  if (out !== undefined)
    throw failed(`cannot import ${path}: its entry '${out}' leads out of the root`, ErrorCode.OPERATION_FAILED);
  if (!members.some((member) => /^(\.\/)?(index|manifest)\.json$/.test(member)))
    return await importTarball(store, name, path, options);
  await using work = store.openWorkFolder();
  const layout = join(work.path, 'layout');
  mkdirSync(layout);
  await unpackTarball(path, layout, { signal: options.signal });
  return await importLayers(store, name, layout, options);
}

async function listTarball(path: string, signal: AbortSignal | undefined): Promise<string[]> {
  const { status, stdout, stderr } = await runCommand(
    findProgram('tar'),
    ['--list', '--absolute-names', '--quoting-style=literal', '--file', path],
    { signal, maxBuffer: MAX_LIST_BYTES },
  );
  if (status !== 0) throw failed(`${path} is no tarball: ${stderr.trim().split('\n')[0] ?? ''}`, ErrorCode.INVALID_ARG);
  return stdout.split('\n').filter((member) => member !== '');
}

/** A root of a million files. */
const MAX_LIST_BYTES = 256 * 1024 * 1024;

async function importTarball(store: ImageStore, name: string, path: string, { arch }: ImportOptions): Promise<Image> {
  await using work = store.openWorkFolder();
  const suffix = /\.(?:tar\.)?(zst|gz|xz|bz2|tgz|txz)$/.exec(basename(path))?.[1];
  const tarball = `root.tar${suffix === undefined ? '' : `.${{ tgz: 'gz', txz: 'xz' }[suffix] ?? suffix}`}`;
  copyFileSync(path, join(work.path, tarball));
  const forArch = findArchitecture(arch).name;
  return await store.publish(work.path, {
    key: keyOfContent(name, forArch, await hashFile(join(work.path, tarball))),
    name,
    arch: forArch,
    tarball,
    origin: `imported from ${basename(path)}`,
  });
}

/** Each layer is unpacked to a folder of its own, where nothing of another layer can lead it out; the kernel's overlay lays them over each other. */
async function importLayers(
  store: ImageStore,
  name: string,
  folder: string,
  { arch, signal }: ImportOptions,
): Promise<Image> {
  const isDocker = isDockerArchive(folder);
  const image = await (isDocker ? readDockerArchive : readOciLayout)(folder, findArchitecture(arch));
  await using work = store.openWorkFolder();
  const folders: string[] = [];
  for (const [index, layer] of image.layers.entries()) {
    const unpacked = join(work.path, `layer${index}`);
    mkdirSync(unpacked, { mode: 0o755 });
    await unpackTarball(layer, unpacked, { signal });
    await applyWhiteouts(unpacked, folders);
    folders.push(unpacked);
  }
  // An overlay of one layer alone is refused by the kernel.
  const [only] = folders;
  const what =
    folders.length === 1 && only !== undefined
      ? { folder: only }
      : { overlay: overlayOptions({ lower: folders.toReversed() }) };
  const { hash, tarball } = await packFolder(work.path, what, signal);
  return await store.publish(work.path, {
    key: keyOfContent(name, image.arch, hash),
    name,
    arch: image.arch,
    tarball,
    origin: isDocker ? 'imported from a docker archive' : 'imported from an OCI image',
    config: image.config,
  });
}
