/** `nestling image list`, `rm`, `import` and `export`. */
import { copyFileSync } from 'node:fs';
import { ErrorCode, VirtError } from '../core/errors.ts';
import { type Image, ImageStore } from '../rootfs/image-store.ts';
import { importImage } from '../rootfs/import-image.ts';
import { InputError, onePositional, parseOptions, systemMessage, UsageError } from './usage.ts';

const HELP = { type: 'boolean', short: 'h' } as const;
const LIST_HELP = `Usage: nestling image list [--json]

Images in the store, newest first: name, architecture, size of the tarball, when it was made, key.
`;
const REMOVE_HELP = `Usage: nestling image rm IMAGE... | --all | --old [--arch ARCH]

Removes images. IMAGE is a name (all of that name), or 8 or more digits of a key. --old: those that there is a newer one of,
by name and architecture. What something runs on, or has mounted, stays: that is an error, but with --old.
`;
const IMPORT_HELP = `Usage: nestling image import NAME FILE|DIRECTORY [--arch ARCH]

Takes a root's tarball (.tar, .tar.gz, .tar.xz, .tar.zst), an OCI image (an image layout: directory or tar; podman save
--format oci-archive), or what docker save writes, today's docker or an older one. Of an OCI image for several architectures the one of --arch is taken (default: this host's), its
digests are checked, and its environment, command and user are kept. Of a tarball --arch says what it is for.
`;
const EXPORT_HELP = `Usage: nestling image export IMAGE FILE [--arch ARCH]

Writes the image's tarball, as it is in the store (zstd, or gzip where that was not installed).
`;

export function list(args: string[]): Promise<number> {
  const { values } = parseOptions(args, { json: { type: 'boolean' }, help: HELP });
  if (values.help === true) return say(LIST_HELP);
  const images = new ImageStore().list();
  if (values.json === true) return say(`${JSON.stringify(images, undefined, 2)}\n`);
  const rows = images.map((image) => [
    image.name,
    image.arch,
    formatSize(image.sizeBytes),
    image.made.slice(0, 16).replace('T', ' '),
    image.key.slice(0, 12),
  ]);
  return say(formatTable([['NAME', 'ARCH', 'SIZE', 'MADE', 'KEY'], ...rows]));
}

export async function remove(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    all: { type: 'boolean' },
    old: { type: 'boolean' },
    arch: { type: 'string' },
    help: HELP,
  });
  if (values.help === true) return await say(REMOVE_HELP);
  const isOld = values.old === true;
  if (positionals.length === 0 && values.all !== true && !isOld)
    throw new UsageError('the image is missing (--all removes all, --old those that there is a newer one of)');
  if (isOld && positionals.length > 0)
    throw new UsageError('--old removes old images of all names: leave the image out');
  const store = new ImageStore();
  const named = (): Image[] => positionals.flatMap((name) => allNamed(store, name, values.arch));
  const doomed = isOld ? superseded(store.list()) : values.all === true ? store.list() : named();
  for (const image of doomed) {
    try {
      await store.remove(image);
    } catch (error) {
      if (!isOld || !(error instanceof VirtError) || error.code !== ErrorCode.RESOURCE_BUSY) throw error;
      process.stderr.write(`nestling image: ${error.message}\n`);
      continue;
    }
    process.stdout.write(`${image.name} ${image.arch} ${image.key.slice(0, 12)} removed\n`);
  }
  return 0;
}

/** `images`: newest first. */
function superseded(images: readonly Image[]): Image[] {
  const seen = new Set<string>();
  return images.filter(({ name, arch }) => {
    const isNewest = !seen.has(`${name} ${arch}`);
    seen.add(`${name} ${arch}`);
    return !isNewest;
  });
}

function allNamed(store: ImageStore, name: string, arch: string | undefined): Image[] {
  const { arch: first } = store.find(name, arch);
  return store
    .list()
    .filter(
      (image) => (image.name === name || image.key.startsWith(name)) && (arch === undefined || image.arch === first),
    );
}

export async function importFrom(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, { arch: { type: 'string' }, help: HELP });
  if (values.help === true) return await say(IMPORT_HELP);
  const [name, ...rest] = positionals;
  if (name === undefined) throw new UsageError('the name is missing');
  const image = await importImage(name, onePositional(rest, 'the file'), { arch: values.arch });
  return await say(`${image.name} ${image.arch} ${image.key.slice(0, 12)}\n`);
}

export async function exportTo(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, { arch: { type: 'string' }, help: HELP });
  if (values.help === true) return await say(EXPORT_HELP);
  const [name, ...rest] = positionals;
  if (name === undefined) throw new UsageError('the image is missing');
  const file = onePositional(rest, 'the file');
  const store = new ImageStore();
  const image = store.find(name, values.arch);
  try {
    copyFileSync(store.tarballOf(image), file);
  } catch (cause) {
    throw new InputError(`cannot write ${file}: ${systemMessage(cause)}`, { cause });
  }
  return await say(`${file}: ${image.name} ${image.arch}, ${formatSize(image.sizeBytes)}\n`);
}

function say(text: string): Promise<number> {
  process.stdout.write(text);
  return Promise.resolve(0);
}

function formatSize(bytes: number): string {
  return bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
