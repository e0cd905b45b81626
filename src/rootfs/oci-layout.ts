/** Reads an OCI image layout (the image specification 1.1): index, manifest, configuration, layers. Every blob is checked by its digest. */
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { type Architecture, findArchitecture, lookUpArchitecture } from './architecture.ts';
import { failed, type ImageConfig } from './image-store.ts';
import { hashFile } from './tarballs.ts';

export interface OciImage {
  /** Debian's name. */
  readonly arch: string;
  /** Files, the lowest first. */
  readonly layers: readonly string[];
  readonly config: ImageConfig;
}

export type Json = Readonly<Record<string, unknown>>;

const INDEXES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
/** More than indexes, manifests and configurations ever have. */
export const MAX_JSON_BYTES = 16 * 1024 * 1024;
const MAX_DEPTH = 4;

/** The image for `wanted` in a layout. @throws VirtError INVALID_ARG when there is none, OPERATION_FAILED for damage */
export async function readOciLayout(layout: string, wanted: Architecture): Promise<OciImage> {
  const manifest = findManifest(
    layout,
    objectOf(JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'))),
    wanted,
    0,
  );
  if (manifest === undefined)
    throw failed(`the OCI image has no part for ${wanted.name}; --arch takes another`, ErrorCode.INVALID_ARG);
  const config = readBlob(layout, objectOf(manifest['config']));
  const layers = listOf(manifest['layers']).map((layer) => blobPath(layout, layer));
  for (const [index, path] of layers.entries())
    await requireDigest(path, textOf(listOf(manifest['layers'])[index]?.['digest']));
  if (layers.length === 0) throw failed('the OCI image has no layers', ErrorCode.INVALID_ARG);
  const architecture = archOf(config) ?? wanted;
  return { arch: architecture.name, layers, config: configOf(objectOf(config['config'])) };
}

function findManifest(layout: string, index: Json, wanted: Architecture, depth: number): Json | undefined {
  if (depth > MAX_DEPTH) return undefined;
  const entries = listOf(index['manifests']);
  const suitable = entries.filter(({ platform }) => platform === undefined || isFor(objectOf(platform), wanted));
  // The same variant first: arm has several.
  const best = suitable.toSorted(
    (one, other) => Number(variantOf(other) === wanted.oci.variant) - Number(variantOf(one) === wanted.oci.variant),
  );
  for (const entry of best) {
    const blob = readBlob(layout, entry);
    if (INDEXES.has(String(entry['mediaType'])) || Array.isArray(blob['manifests'])) {
      const found = findManifest(layout, blob, wanted, depth + 1);
      if (found !== undefined) return found;
      continue;
    }
    if (entry['platform'] !== undefined) return blob;
    // One that does not say what it is for says it in its configuration.
    const arch = archOf(readBlob(layout, objectOf(blob['config'])));
    if (arch === undefined || arch.oci.architecture === wanted.oci.architecture) return blob;
  }
  return undefined;
}

function variantOf(entry: Json): unknown {
  return objectOf(entry['platform'] ?? {})['variant'];
}

function isFor({ os, architecture }: Json, wanted: Architecture): boolean {
  return (os === undefined || os === 'linux') && architecture === wanted.oci.architecture;
}

export function archOf({ architecture, variant }: Json): Architecture | undefined {
  if (typeof architecture !== 'string') return undefined;
  const exact = typeof variant === 'string' ? lookUpArchitecture(`${architecture}${variant}`) : undefined;
  return exact ?? lookUpArchitecture(architecture) ?? findArchitecture(architecture);
}

export function configOf(config: Json): ImageConfig {
  const words = (value: unknown): string[] | undefined => (Array.isArray(value) ? value.map(String) : undefined);
  const [env, cmd, entrypoint] = [words(config['Env']), words(config['Cmd']), words(config['Entrypoint'])];
  const [user, workingDir] = [config['User'], config['WorkingDir']];
  return {
    ...(env && { env }),
    ...(cmd && { cmd }),
    ...(entrypoint && { entrypoint }),
    ...(typeof user === 'string' && user !== '' && { user }),
    ...(typeof workingDir === 'string' && workingDir !== '' && { workingDir }),
  };
}

function blobPath(layout: string, descriptor: Json): string {
  const digest = textOf(descriptor['digest']);
  if (!/^sha256:[0-9a-f]{64}$/.test(digest))
    throw failed(`the OCI image names a blob by '${digest}'; only sha256 is known`, ErrorCode.INVALID_ARG);
  const path = join(layout, 'blobs/sha256', digest.slice(7));
  // A link of a hostile layout would have us read any file of the host.
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    throw failed(`the OCI image lacks its blob ${digest}`, ErrorCode.OPERATION_FAILED);
  return path;
}

function readBlob(layout: string, descriptor: Json): Json {
  const path = blobPath(layout, descriptor);
  if (statSync(path).size > MAX_JSON_BYTES)
    throw failed(`the OCI image's ${path} is too large for a manifest`, ErrorCode.OPERATION_FAILED);
  const bytes = readFileSync(path);
  const hash = createHash('sha256').update(bytes).digest('hex');
  if (`sha256:${hash}` !== descriptor['digest']) throw damaged(textOf(descriptor['digest']), hash);
  return objectOf(JSON.parse(bytes.toString('utf8')));
}

async function requireDigest(path: string, digest: string): Promise<void> {
  const hash = await hashFile(path);
  if (digest !== `sha256:${hash}`) throw damaged(digest, hash);
}

function damaged(digest: string, hash: string): Error {
  return failed(
    `the OCI image is damaged: the blob ${digest} has the digest sha256:${hash}`,
    ErrorCode.OPERATION_FAILED,
  );
}

export function objectOf(value: unknown): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw failed('the image is damaged: an object is missing in its JSON', ErrorCode.OPERATION_FAILED);
}

export function listOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(objectOf) : [];
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
