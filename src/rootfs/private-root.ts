/**
 * The scripts that turn a folder into the root of a few processes: mounts first, with the host's rights, then the change of root. Only
 * util-linux is needed. Afterwards nothing of the host's files can be reached from inside; all of it is gone with the processes.
 */

export interface PrivateRoot {
  /** Where it is put together: an empty folder. */
  readonly mountPoint: string;
  /** The folder to show, or the layers of an overlay; with `upper` (and an empty `work` beside it) changes go there. */
  readonly source:
    | { readonly kind: 'folder'; readonly path: string }
    | { readonly kind: 'overlay'; readonly lower: readonly string[]; readonly upper: string; readonly work: string };
  /** A file with the host's resolvers. */
  readonly resolvConf: string;
}

/**
 * $1 mount point, $2 type, $3 what, $4 resolvers. Folders that things are mounted on are looked at first: a link of the root's would lead
 * the mount to the host's own files.
 */
const PREPARE = `
R=$1
case $2 in
  folder) mount --bind -- "$3" "$R" ;;
  overlay) mount -t overlay -o "$3" overlay "$R" ;;
esac
for name in proc sys dev run etc; do
  if [ -L "$R/$name" ]; then echo "/$name of this root is a symbolic link: nothing can be mounted on it safely" >&2; exit 125; fi
  [ -d "$R/$name" ] || mkdir "$R/$name"
done
mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys"
mount -t tmpfs -o nosuid,mode=755,size=1m tmpfs "$R/dev"
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$R/run"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  name=\${device%%:*}; numbers=\${device#*:}
  mknod -m 666 "$R/dev/$name" c "\${numbers%:*}" "\${numbers#*:}" 2>/dev/null ||
    { : >"$R/dev/$name"; mount --bind "/dev/$name" "$R/dev/$name"; }
done
mkdir "$R/dev/pts" "$R/dev/shm" "$R/dev/.host" "$R/dev/.tools"
mount -t devpts -o newinstance,nosuid,noexec,ptmxmode=666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s /proc/self/fd/0 "$R/dev/stdin"
ln -s /proc/self/fd/1 "$R/dev/stdout"
ln -s /proc/self/fd/2 "$R/dev/stderr"
# The caller's terminal, under a name that programs find: this devpts has none of the host's.
if [ -t 0 ]; then
  : >"$R/dev/console"
  mount --bind "$(readlink /proc/self/fd/0)" "$R/dev/console"
fi
mkdir -m 1777 "$R/run/lock"
# Programs that ask for their own address (sudo) expect both.
name=localhost
[ -L "$R/etc/hostname" ] || [ ! -f "$R/etc/hostname" ] || read -r name <"$R/etc/hostname" || :
case $name in '' | *[!A-Za-z0-9.-]*) ;; *) echo "$name" >/proc/sys/kernel/hostname 2>/dev/null || : ;; esac
[ -L "$R/etc/hosts" ] || [ -e "$R/etc/hosts" ] ||
  printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n' >"$R/etc/hosts"
resolvers=$R/etc/resolv.conf
if [ -L "$resolvers" ]; then
  link=$(readlink "$resolvers")
  case $link in
    *..*/..*/..*) ;;
    /run/* | ../run/*)
      link=\${link#..}
      mkdir -p "$R\${link%/*}"
      cat "$4" >"$R$link" ;;
  esac
else
  [ -e "$resolvers" ] || : >"$resolvers"
  mount --bind "$4" "$resolvers"
  mount -o remount,bind,ro "$resolvers"
fi`;

/**
 * $1 mount point, $2 folder inside, $3 `binfmt` when there are emulators to keep (they go with their file system's last mount), $4… the command. The old root goes away by the hand of a helper whose own root is a copy of it, because
 * after the change no program of the host can be found any more. The command is a child of this shell, which is process 1.
 */
export const ENTER = `
set -e
trap 'exit 125' EXIT
path=$PATH
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
R=$1; inside=$2; keep=$3; shift 3
if [ "$keep" = binfmt ]; then
  mount --bind /proc/sys/fs/binfmt_misc "$R/proc/sys/fs/binfmt_misc"
  mount -o remount,bind,ro "$R/proc/sys/fs/binfmt_misc"
fi
mount --rbind "$R" "$R"
cd "$R"
mount --rbind / dev/.tools
mkfifo dev/.ready dev/.go
exec 7<>dev/.ready 8<>dev/.go 9<dev
rm dev/.ready dev/.go
{
  chroot dev/.tools /bin/sh -c 'echo ready; read -r go; umount -l -c /proc/self/fd/9/.host /proc/self/fd/9/.tools' <&8 >&7 ||
    echo failed >&7
} &
read -r said <&7
[ "$said" = ready ]
pivot_root . dev/.host
cd /
echo go >&8
wait $!
rmdir dev/.host dev/.tools 2>/dev/null || :
exec 7>&- 8>&- 9>&-
cd "$inside"
PATH=$path
set +e
trap - EXIT
"$@"
exit $?`;

/** The preparation of a private root, as data for `spawnIsolated`. Pure. */
export function planPrivateRoot({ mountPoint, source, resolvConf }: PrivateRoot): { script: string; args: string[] } {
  const what = source.kind === 'folder' ? source.path : overlayOptions(source);
  return { script: PREPARE, args: [mountPoint, source.kind, what, resolvConf] };
}

/** For mount(8) of an overlay. Commas, colons and backslashes of paths are escaped as the kernel wants it. */
export function overlayOptions({
  lower,
  upper,
  work,
}: {
  lower: readonly string[];
  upper?: string;
  work?: string;
}): string {
  const escape = (path: string): string => path.replace(/[\\:,]/g, (letter) => `\\${letter}`);
  const options = [`lowerdir=${lower.map(escape).join(':')}`];
  if (upper !== undefined && work !== undefined) options.push(`upperdir=${escape(upper)}`, `workdir=${escape(work)}`);
  return options.join(',');
}
