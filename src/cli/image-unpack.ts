/** `nestling image unpack`: makes a root of an image. */
import { resolve } from 'node:path';
import { ImageStore } from '../rootfs/image-store.ts';
import type { IdShift } from '../rootfs/isolated.ts';
import { formatUnpackStep, planUnpack, UNPACK_KINDS } from '../rootfs/plan-unpack.ts';
import { unpackImage } from '../rootfs/unpack-image.ts';
import { onePositional, parseChoice, parseOptions, UsageError } from './usage.ts';

const HELP = `Usage: nestling image unpack IMAGE DIRECTORY [--as KIND] [OPTIONS]

Makes a root of an image in DIRECTORY, which is not there yet, or empty. Owners, modes, devices and extended attributes are
kept; nothing of the image gets outside. KIND:
  directory   a copy (default)
  overlay     an overlay: changes in DIRECTORY.upper, everything else shared with all others of the image
  tmpfs       in memory; gone when it is unmounted
  btrfs       a snapshot of a subvolume beside it, made once for each image
  zfs         a clone below --pool DATASET
  lvm         a volume of its own with ext4 in the group --pool GROUP, mounted there

Options:
      --arch ARCH          which, when there are several of that name
      --idmap BASE:COUNT   files belong to ids from BASE on, for a container whose <idmap> starts there
      --size SIZE          of tmpfs (512M) and lvm (4G)
      --pool NAME          for zfs and lvm
      --dry-run            print the commands
  -h, --help               this text
`;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, {
    as: { type: 'string' },
    arch: { type: 'string' },
    idmap: { type: 'string' },
    size: { type: 'string' },
    pool: { type: 'string' },
    'dry-run': { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [name, ...rest] = positionals;
  if (name === undefined) throw new UsageError('the image is missing');
  const target = onePositional(rest, 'the directory');
  const kind = parseChoice(values.as ?? 'directory', UNPACK_KINDS, '--as');
  const ids = values.idmap === undefined ? undefined : parseIds(values.idmap);
  const { arch, size, pool } = values;
  if (values['dry-run'] === true) {
    const store = new ImageStore();
    const image = store.find(name, arch);
    const tarball = store.tarballOf(image);
    const steps = planUnpack({
      kind,
      tarball,
      key: image.key,
      tree: store.treeOf(image),
      target: resolve(target),
      size,
      pool,
    });
    process.stdout.write(steps.map((step) => `${formatUnpackStep(step, { tarball })}\n`).join(''));
    return 0;
  }
  await unpackImage(name, target, { kind, arch, size, pool, ids });
  return 0;
}

function parseIds(text: string): IdShift {
  const match = /^(\d+):(\d+)$/.exec(text);
  const [base, count] = [Number(match?.[1]), Number(match?.[2])];
  if (match !== null && count > 0 && base + count <= 2 ** 32 - 1) return { base, count };
  throw new UsageError(`--idmap takes BASE:COUNT such as 100000:65536, not '${text}'`);
}
