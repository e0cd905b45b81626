/** How an image becomes a root that can be used: a copy, an overlay, a clone, a volume. Pure: commands as data, with how to undo each. */
import { invalid } from './build-plan.ts';
import { overlayOptions } from './private-root.ts';

export const UNPACK_KINDS = ['directory', 'overlay', 'tmpfs', 'btrfs', 'zfs', 'lvm'] as const;
export type UnpackKind = (typeof UNPACK_KINDS)[number];

export interface UnpackRequest {
  readonly kind: UnpackKind;
  /** The image's tarball, key and unpacked tree in the store. */
  readonly tarball: string;
  readonly key: string;
  readonly tree: string;
  /** Where the root is to be: an absolute path. */
  readonly target: string;
  /** tmpfs, lvm: how large, as mount(8) and lvcreate(8) take it (`512M`, `4G`). */
  readonly size?: string | undefined;
  /** zfs: the data set below which clones are made. lvm: the volume group. */
  readonly pool?: string | undefined;
}

/** `unpack` is done by ourselves: the tarball into a folder. The others are programs. With `unless`, not where that command succeeds. */
export type UnpackStep =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'tree' }
  | { readonly kind: 'unpack'; readonly folder: string; readonly unless?: readonly string[] }
  | {
      readonly kind: 'command';
      readonly command: string;
      readonly args: readonly string[];
      /** What takes it back when a later step fails. */
      readonly undo?: readonly string[];
      /** The base of clones is made once. */
      readonly unless?: readonly string[];
    };

const SIZE = /^\d+(\.\d+)?[KMGT]$/i;

/** @throws VirtError INVALID_ARG for what is missing or cannot be */
export function planUnpack(request: UnpackRequest): UnpackStep[] {
  if (!request.target.startsWith('/') || request.target === '/')
    throw invalid(`'${request.target}' is no place for a root`);
  if (request.size !== undefined && !SIZE.test(request.size))
    throw invalid(`a size is like 512M or 4G, not '${request.size}'`);
  if (request.pool !== undefined && !/^[A-Za-z0-9][\w.:/-]*$/.test(request.pool))
    throw invalid(`'${request.pool}' is no name of a pool`);
  return PLANS[request.kind](request);
}

const PLANS: Readonly<Record<UnpackKind, (request: UnpackRequest) => UnpackStep[]>> = {
  directory: ({ target }) => [
    { kind: 'folder', path: target },
    { kind: 'unpack', folder: target },
  ],
  // What is written lies beside the target, so that it outlives an unmount.
  overlay: ({ target, tree }) => {
    const [upper, work] = [`${target}.upper`, `${target}.work`];
    return [
      { kind: 'tree' },
      { kind: 'folder', path: target },
      { kind: 'folder', path: upper },
      { kind: 'folder', path: work },
      mountStep(['-t', 'overlay', '-o', overlayOptions({ lower: [tree], upper, work }), 'overlay', target], target),
    ];
  },
  tmpfs: ({ target, size }) => [
    { kind: 'folder', path: target },
    mountStep(
      ['-t', 'tmpfs', '-o', `mode=755${size === undefined ? '' : `,size=${size}`}`, 'nestling', target],
      target,
    ),
    { kind: 'unpack', folder: target },
  ],
  btrfs: ({ target, key }) => {
    const base = `${target.slice(0, target.lastIndexOf('/')) || '/'}/.nestling-base-${key}`.replace('//', '/');
    // It has its name when it is whole: one that was killed over it leaves no base.
    const half = `${base}.part`;
    const unless = ['test', '-e', base];
    return [
      command('btrfs', ['subvolume', 'delete', half], { unless: ['test', '!', '-e', half] }),
      command('btrfs', ['subvolume', 'create', half], { undo: ['btrfs', 'subvolume', 'delete', half], unless }),
      { kind: 'unpack', folder: half, unless },
      command('mv', [half, base], { undo: ['mv', base, half], unless }),
      command('btrfs', ['subvolume', 'snapshot', base, target], { undo: ['btrfs', 'subvolume', 'delete', target] }),
    ];
  },
  zfs: ({ target, key, pool }) => {
    if (pool === undefined) throw invalid('zfs needs --pool DATASET, below which the root is made');
    const base = `${pool}/nestling-base-${key}`;
    const clone = `${pool}/${nameOf(target)}`;
    const unless = ['zfs', 'list', `${base}@image`];
    // Without its snapshot it is what one has left that was killed over it.
    const isWhole = ['sh', '-c', 'zfs list "$0@image" || ! zfs list "$0"', base];
    return [
      command('zfs', ['destroy', '-r', base], { unless: isWhole }),
      command('zfs', ['create', '-o', 'mountpoint=legacy', base], { undo: ['zfs', 'destroy', '-r', base], unless }),
      command('mkdir', ['-p', target]),
      { ...mountStep(['-t', 'zfs', base, target], target), unless },
      { kind: 'unpack', folder: target, unless },
      command('umount', [target], { unless }),
      command('zfs', ['snapshot', `${base}@image`], { unless }),
      command('zfs', ['clone', '-o', `mountpoint=${target}`, `${base}@image`, clone], {
        undo: ['zfs', 'destroy', clone],
      }),
    ];
  },
  lvm: ({ target, pool, size = '4G' }) => {
    if (pool === undefined) throw invalid('lvm needs --pool GROUP, the volume group');
    const name = nameOf(target);
    const device = `/dev/${pool}/${name}`;
    return [
      command('lvcreate', ['--yes', '--wipesignatures', 'y', '--name', name, '--size', size, pool], {
        undo: ['lvremove', '--yes', `${pool}/${name}`],
      }),
      command('mkfs.ext4', ['-q', device]),
      { kind: 'folder', path: target },
      mountStep([device, target], target),
      { kind: 'unpack', folder: target },
    ];
  },
};

function command(
  program: string,
  args: readonly string[],
  more: { undo?: readonly string[]; unless?: readonly string[] } = {},
): Extract<UnpackStep, { kind: 'command' }> {
  return { kind: 'command', command: program, args, ...more };
}

function mountStep(args: readonly string[], target: string): Extract<UnpackStep, { kind: 'command' }> {
  return command('mount', args, { undo: ['umount', target] });
}

/** The last part of the path, as names of volumes may be. */
function nameOf(target: string): string {
  return target
    .slice(target.lastIndexOf('/') + 1)
    .replace(/[^\w.-]/g, '-')
    .replace(/^[.-]/, 'n');
}

/** For people who want to see it first. Pure. */
export function formatUnpackStep(step: UnpackStep, { tarball }: { tarball: string }): string {
  if (step.kind === 'folder') return `mkdir -p ${quoteWords([step.path])}`;
  if (step.kind === 'tree') return '# the image is unpacked in the store, once';
  if (step.kind === 'command') {
    const command = quoteWords([step.command, ...step.args]);
    return step.unless === undefined ? command : `${quoteWords(step.unless)} || ${command}`;
  }
  const unpack = quoteWords([
    'tar',
    '-xpf',
    tarball,
    '--numeric-owner',
    '--xattrs',
    '--xattrs-include=*',
    '-C',
    step.folder,
  ]);
  return step.unless === undefined ? unpack : `${quoteWords(step.unless)} || ${unpack}`;
}

/** As a shell takes them. */
export function quoteWords(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}
