/**
 * How an image that no kernel can mount becomes a block device: what serves its content, and the script that keeps the server for as long as somebody
 * has the device. Pure: data in, a command line out.
 */
import { refuse } from './container-context.ts';

/** An image file, and how it is to be shown. */
export interface ImageSource {
  readonly file: string;
  /** `raw`, or what `imageFormat` gives. */
  readonly format: string;
  readonly readonly: boolean;
}

/** What of this host can serve an image; undefined: not there. */
export interface ImageServers {
  /** qemu-storage-daemon, where there is also /dev/fuse. */
  readonly storageDaemon?: string | undefined;
  /** qemu-nbd, where the kernel also has nbd. */
  readonly nbd?: string | undefined;
}

export interface ImagePlaces {
  /** A file of ours that the content is shown in. */
  readonly place: string;
  /** Held as long as the image is open: the next run of the same container waits for it. */
  readonly lock: string;
}

/** `name`: one for each place in the container, whose folder is `dir`. */
export function imagePlaces(dir: string, name: string): ImagePlaces {
  const place = `${dir}/image-${name}`;
  return { place, lock: `${place}.lock` };
}

/** Formats by libvirt's names, and QEMU's names for them. */
const QEMU_FORMATS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    bochs: 'bochs',
    cloop: 'cloop',
    dmg: 'dmg',
    ploop: 'parallels',
    qcow: 'qcow',
    qcow2: 'qcow2',
    qed: 'qed',
    vdi: 'vdi',
    vhd: 'vpc',
    vhdx: 'vhdx',
    vmdk: 'vmdk',
    vpc: 'vpc',
  }),
);

/** QEMU's name of a format. @throws VirtError CONFIG_UNSUPPORTED */
export function imageFormat(format: string, where: string): string {
  return (
    QEMU_FORMATS.get(format) ??
    refuse(`${where}: there are no images of format '${format}'; known are raw, ${[...QEMU_FORMATS.keys()].join(', ')}`)
  );
}

/**
 * Prints the device's name when it is there. Once a line or the end of its input has come it waits until nobody uses the device any more, lets the
 * server write what is left, and ends. The loop device goes by itself with its last user, however that ends; what is mounted here, nobody else sees.
 * @throws VirtError CONFIG_UNSUPPORTED where nothing on this host serves the image
 */
export function planImageExport(
  image: ImageSource,
  servers: ImageServers,
  { place, lock }: ImagePlaces,
): { readonly command: string; readonly args: readonly string[] } {
  const access = image.readonly ? 'ro' : 'rw';
  const command = 'unshare';
  const script = (text: string, ...words: readonly string[]): readonly string[] => [
    '--mount',
    '--propagation',
    'private',
    '--',
    'sh',
    '-c',
    text,
    'image-export',
    lock,
    access,
    ...words,
  ];
  if (image.format === 'raw') return { command, args: script(RAW, image.file) };
  if (servers.storageDaemon !== undefined) {
    return { command, args: script(BY_FUSE, place, servers.storageDaemon, ...storageDaemonArgs(image, place)) };
  }
  if (servers.nbd !== undefined) {
    const readOnly = image.readonly ? ['--read-only'] : [];
    // Its own place for that is /var/lock, which containers of CI may lack.
    const socket = `--socket=${place}.nbd`;
    return { command, args: script(BY_NBD, servers.nbd, socket, `--format=${image.format}`, ...readOnly, image.file) };
  }
  return refuse(
    `images of format '${image.format}' are served by qemu-storage-daemon and /dev/fuse, or by qemu-nbd and the kernel's nbd; ` +
      `this host has neither: install qemu-system-common (where /dev/fuse is missing: modprobe fuse), ` +
      `or make the image raw: qemu-img convert -O raw ${image.file} ${image.file}.raw`,
  );
}

function storageDaemonArgs({ file, format, readonly }: ImageSource, place: string): string[] {
  const common = { 'read-only': readonly, discard: 'unmap' };
  const blockdev = (node: object): string[] => ['--blockdev', JSON.stringify(node)];
  return [
    ...blockdev({ ...common, driver: 'file', 'node-name': 'file', filename: file }),
    ...blockdev({ ...common, driver: format, 'node-name': 'image', file: 'file' }),
    '--export',
    JSON.stringify({ type: 'fuse', id: 'export', 'node-name': 'image', mountpoint: place, writable: !readonly }),
  ];
}

/** `$1` lock, `$2` access; then what each way needs. */
const BEGIN = `
umask 077
lock=$1 access=$2
shift 2
exec 8>"$lock" && flock 8 || exit 1
server=
# Ended, and nobody has waited for it: that is gone as well.
alive() { read -r _ _ state _ 2>/dev/null </proc/$server/stat && [ "$state" != Z ]; }
loop_on() {
  [ "$access" = ro ] && set -- --read-only "$@"
  loop=$(losetup --find --show "$@") && exec 7<"$loop" && losetup --detach "$loop" && echo "$loop"
}
rounds=0
rest() { rounds=$((rounds + 1)); if [ $rounds -lt 150 ]; then sleep 0.02; else sleep 1; fi; }
`;

/** Whoever was to use the device has it open, or never will. */
const UNTIL_TOLD = `
read -r _
exec 7<&-
`;

const RAW = `${BEGIN}
loop_on "$1" || exit 1
${UNTIL_TOLD}`;

/** Never with direct I/O on the loop device: through the exports of QEMU 7.2 it damages what is written. */
const BY_FUSE = `${BEGIN}
place=$1
shift
: >"$place" || exit 1
setpriv --pdeathsig TERM "$@" 7<&- 8>&- </dev/null >&2 &
server=$!
until [ -s "$place" ]; do alive || exit 1; sleep 0.01; done
if loop_on "$place"; then${UNTIL_TOLD}else failed=1; fi
until umount "$place" 2>/dev/null; do rest; done
kill "$server"
wait "$server"
exit \${failed:-0}`;

const BY_NBD = `${BEGIN}
program=$1
shift
[ -e /sys/block/nbd0 ] || modprobe nbd
for block in /sys/block/nbd*; do
  [ -e "$block" ] && [ ! -e "$block/pid" ] || continue
  node=/dev/\${block##*/}
  setpriv --pdeathsig TERM "$program" --connect="$node" "$@" 8>&- </dev/null >&2 &
  server=$!
  until [ -e "$block/pid" ] && read -r size <"$block/size" && [ "$size" -gt 0 ]; do alive || continue 2; sleep 0.01; done
  if loop_on "$node"; then${UNTIL_TOLD}else failed=1; fi
  while [ -n "$(losetup --associated "$node")" ]; do rest; done
  "$program" --disconnect "$node" >&2
  wait "$server"
  exit \${failed:-0}
done
exit 1`;
