/** Settings of the kernel, and what root in a container tries on them. */

/** Of the host, and of the host's network. */
export const HOST_SETTINGS = ['kernel/panic_on_oops', 'vm/swappiness', 'net/ipv4/ip_forward'];

const PLACES = ['/proc/sys', '/tmp/sys'];

/** A line for a shell: writes the values that they have, by what is mounted and by what can be, and prints the files that took them. */
export function writeSettings(names: readonly string[]): string {
  return `{ mount -o remount,bind,rw /proc/sys; mount -t proc none /tmp; } 2>/dev/null
    for name in ${names.join(' ')}; do
      for top in ${PLACES.join(' ')}; do (value=$(cat $top/$name) && echo "$value" >$top/$name) 2>/dev/null && echo $top/$name; done
    done; umount /tmp 2>/dev/null; true`;
}

/** What it prints where nothing keeps it from them. */
export function allWritten(names: readonly string[]): string[] {
  return names.flatMap((name) => PLACES.map((top) => `${top}/${name}`));
}
