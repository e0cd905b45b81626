/** The unpacked tree of an image, which all overlays of it share: made once, when it is first needed, and as a whole. */
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Image, ImageStore } from './image-store.ts';
import { unpackTarball } from './tarballs.ts';

/** @returns the folder of the tree. @throws VirtError as `unpackTarball`; RESOURCE_BUSY while another process unpacks it */
export async function ensureTree(store: ImageStore, image: Image, signal?: AbortSignal): Promise<string> {
  const tree = store.treeOf(image);
  if (existsSync(tree)) return tree;
  using _lock = store.lock(image.key);
  if (existsSync(tree)) return tree;
  await using work = store.openWorkFolder();
  const folder = join(work.path, 'tree');
  mkdirSync(folder, { mode: 0o755 });
  await unpackTarball(store.tarballOf(image), folder, { signal });
  renameSync(folder, tree);
  return tree;
}
