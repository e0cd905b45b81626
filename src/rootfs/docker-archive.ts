/**
 * Reads what `docker save` wrote before it was an OCI layout (docker's image specification 1.2): `manifest.json`, a configuration, and a tarball for
 * each layer, all named by paths in the archive. There are no digests of the layers' files; the configuration has those of their content.
 */
import { closeSync, existsSync, lstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import type { Architecture } from './architecture.ts';
import { failed } from './image-store.ts';
import { archOf, configOf, type Json, listOf, MAX_JSON_BYTES, type OciImage, objectOf, textOf } from './oci-layout.ts';
import { resolveInRoot } from './path-in-root.ts';
import { hashFile } from './tarballs.ts';

const MANIFEST = 'manifest.json';

/** An unpacked archive is one when it has this, and no `index.json`. */
export function isDockerArchive(folder: string): boolean {
  return existsSync(join(folder, MANIFEST)) && !existsSync(join(folder, 'index.json'));
}

/** @throws VirtError INVALID_ARG for several images in one, or another architecture; OPERATION_FAILED for damage */
export async function readDockerArchive(folder: string, wanted: Architecture): Promise<OciImage> {
  const images = listOf(readJson(folder, MANIFEST));
  const [image] = images;
  if (image === undefined || images.length > 1) {
    const names = images.flatMap(({ RepoTags }) => (Array.isArray(RepoTags) ? RepoTags.map(String) : []));
    throw failed(
      `the archive has ${images.length} images (${names.join(', ')}), and one is imported at a time: docker save ONE`,
      ErrorCode.INVALID_ARG,
    );
  }
  const config = objectOf(readJson(folder, textOf(image['Config'])));
  const architecture = archOf(config) ?? wanted;
  if (architecture.oci.architecture !== wanted.oci.architecture) {
    throw failed(
      `the archive's image is for ${architecture.name}, not ${wanted.name}; import it with --arch ${architecture.name}`,
      ErrorCode.INVALID_ARG,
    );
  }
  const names: readonly unknown[] = Array.isArray(image['Layers']) ? image['Layers'] : [];
  const layers = names.map((name) => fileIn(folder, textOf(name)));
  if (layers.length === 0) throw failed('the archive has no layers', ErrorCode.INVALID_ARG);
  await requireContent(layers, objectOf(config['rootfs'] ?? {}));
  return { arch: architecture.name, layers, config: configOf(objectOf(config['config'] ?? {})) };
}

/** Layers lie there as they were hashed; where somebody has packed them since, nothing can be said. */
async function requireContent(layers: readonly string[], { diff_ids }: Json): Promise<void> {
  const digests: readonly unknown[] = Array.isArray(diff_ids) ? diff_ids : [];
  for (const [index, path] of layers.entries()) {
    const expected = digests[index];
    if (typeof expected !== 'string' || !isPlainTar(path)) continue;
    const found = `sha256:${await hashFile(path)}`;
    if (found !== expected) throw failed(`the archive is damaged: layer ${index + 1} is ${found}, not ${expected}`);
  }
}

function isPlainTar(path: string): boolean {
  const magic = Buffer.alloc(5);
  const file = openSync(path, 'r');
  try {
    readSync(file, magic, 0, magic.length, 257);
  } finally {
    closeSync(file);
  }
  return magic.toString('latin1') === 'ustar';
}

function readJson(folder: string, name: string): unknown {
  const path = fileIn(folder, name);
  if (lstatSync(path).size > MAX_JSON_BYTES)
    throw failed(`the archive's ${name} is too large for a description`, ErrorCode.OPERATION_FAILED);
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** Layers that are the same are links to the first; no link leads out of the archive. */
function fileIn(folder: string, name: string): string {
  const path = resolveInRoot(folder, `/${name}`);
  if (name !== '' && lstatSync(path, { throwIfNoEntry: false })?.isFile() === true) return path;
  throw failed(`the archive lacks its file '${name}'`, ErrorCode.OPERATION_FAILED);
}
