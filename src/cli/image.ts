/** `nestling image`: root file systems of containers: built, kept, unpacked, run in and provisioned. Each command is a file of its own. */
import type { OutputWatch } from './output.ts';
import { UsageError } from './usage.ts';

const HELP = `Usage: nestling image build NAME [OPTIONS]
       nestling image list [--json]
       nestling image rm IMAGE... | --all | --old
       nestling image import NAME FILE|DIRECTORY [--arch ARCH]
       nestling image export IMAGE FILE
       nestling image unpack IMAGE DIRECTORY [--as KIND] [OPTIONS]
       nestling image run [OPTIONS] IMAGE|DIRECTORY -- COMMAND [ARGUMENTS]
       nestling image provision [OPTIONS] IMAGE|DIRECTORY

Root file systems for containers. NAME is like debian:bookworm, ubuntu:22.04, fedora:43, arch; releases of long ago too
(debian:etch). IMAGE is a name, or 8 or more digits of a key from 'list'. A DIRECTORY has a slash or a dot in front.

  build      makes an image with the distribution's own tools (mmdebstrap or debootstrap, dnf, pacstrap), or takes it
             from the store when neither the request nor the mirror has changed since
  list       what is in the store
  rm         removes images that nothing uses
  import     takes a tarball (.tar, .gz, .xz, .zst) or an OCI image (directory or tar)
  export     writes an image's tarball
  unpack     makes a root of an image: directory, overlay, tmpfs, btrfs or zfs clone, LVM volume
  run        runs a command in it without booting; programs of other architectures too
  provision  users, keys, sshd, banners, packages: before the first boot

  nestling image COMMAND --help   the options of a command

Most need root. Images are in /var/cache/nestling/images (NESTLING_CACHE_DIR); 'nestling gc' removes what a killed
build has left.

Exit status: 0 done; 1 it failed; 2 wrong usage; 'run' has the command's own.
`;

type Command = (args: string[], output: OutputWatch) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<{ main: Command }>>> = {
  build: () => import('./image-build.ts'),
  list: () => import('./image-store.ts').then(({ list }) => ({ main: list })),
  rm: () => import('./image-store.ts').then(({ remove }) => ({ main: remove })),
  import: () => import('./image-store.ts').then(({ importFrom }) => ({ main: importFrom })),
  export: () => import('./image-store.ts').then(({ exportTo }) => ({ main: exportTo })),
  unpack: () => import('./image-unpack.ts'),
  run: () => import('./image-run.ts'),
  provision: () => import('./image-provision.ts'),
};

export async function main(args: string[], output: OutputWatch): Promise<number> {
  const [name, ...rest] = args;
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  if (name === undefined) throw new UsageError(`a command is missing: ${Object.keys(COMMANDS).join(', ')}`);
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined)
    throw new UsageError(`there is no 'image ${name}'; there are ${Object.keys(COMMANDS).join(', ')}`);
  await collect();
  return await (await load()).main(rest, output);
}

/** What a killed command has left: before, so that its disk space is there for this one. */
async function collect(): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const [path, { collectGarbage }, { prepareRuntimeDir }, { GUEST_REMOVERS }] = await Promise.all([
    import('node:path'),
    import('../core/ledger-gc.ts'),
    import('../core/fs-runtime-dir.ts'),
    import('../guest/removers.ts'),
  ]);
  await collectGarbage({ dir: path.join(prepareRuntimeDir(), 'ledger'), removers: GUEST_REMOVERS });
}
