/** How images name the images that they stand on: paths, `protocol:…` names, `json:{…}` descriptions. Pure. */
import { dirname, join } from 'node:path';

/** A reference that means nothing. */
export class ImageReferenceError extends Error {
  override readonly name = 'ImageReferenceError';
  readonly problem: string;

  constructor(imagePath: string, problem: string, cause: unknown) {
    super(`image ${imagePath}: ${problem}`, { cause });
    this.problem = problem;
  }
}

/** The file that an image's reference means, or that it is none of this host. */
export type ImageReference =
  | { readonly kind: 'local'; readonly path: string; readonly format: string | undefined }
  | { readonly kind: 'remote'; readonly format: string | undefined };

/** What an image's reference means: QEMU takes paths, `protocol:…` names and `json:{…}` descriptions. */
export function resolveReference(imagePath: string, reference: string): ImageReference {
  if (reference.startsWith('json:')) return resolveJson(imagePath, reference);
  const path = reference.startsWith('file:') ? reference.slice('file:'.length) : reference;
  // A colon before the first slash makes it a protocol.
  if (path === reference && /^[^/]*:/.test(path)) return { kind: 'remote', format: undefined };
  return { kind: 'local', path: absolute(imagePath, path), format: undefined };
}

function resolveJson(imagePath: string, reference: string): ImageReference {
  let description: unknown;
  try {
    description = JSON.parse(reference.slice('json:'.length));
  } catch (cause) {
    throw new ImageReferenceError(imagePath, "its backing image is 'json:' with text that is not JSON", cause);
  }
  const flat = new Map<string, unknown>();
  flatten(description, '', flat);
  // The file may be described directly, or below the driver of its format.
  const nested = flat.get('file.filename');
  const direct = flat.get('filename');
  const filename = nested ?? direct;
  const outer = flat.get('driver');
  const protocol = (nested === undefined ? outer : flat.get('file.driver')) ?? 'file';
  const format = nested !== undefined && typeof outer === 'string' ? outer : undefined;
  const local = protocol === 'file' || protocol === 'host_device' || protocol === 'host_cdrom';
  if (!local || typeof filename !== 'string') return { kind: 'remote', format };
  return { kind: 'local', path: absolute(imagePath, filename), format };
}

/** Members of nested objects under dotted names, as QEMU reads both spellings. */
function flatten(value: unknown, prefix: string, into: Map<string, unknown>): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    into.set(prefix, value);
    return;
  }
  for (const [name, item] of Object.entries(value)) flatten(item, prefix === '' ? name : `${prefix}.${name}`, into);
}

function absolute(imagePath: string, path: string): string {
  return path.startsWith('/') ? path : join(dirname(imagePath), path);
}
