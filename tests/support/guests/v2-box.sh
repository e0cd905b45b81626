#!/bin/sh
# usage: box [-f] NAME COMMAND...
# Runs COMMAND as a container without systemd would have it: a group of its own, with all controllers, is the root of a private cgroup
# namespace, and the hierarchy is mounted anew in a mount namespace. With -f somebody else's process is in that root too, as PID 1 and a CI
# agent would be. Afterwards everything in it is killed and removed.
foreign=
if [ "$1" = -f ]; then
  foreign=yes
  shift
fi
export BOX="$1" BOX_GROUP=/sys/fs/cgroup/"$1" BOX_FOREIGN=$foreign
shift
echo '+cpu +cpuset +memory +io +pids' > /sys/fs/cgroup/cgroup.subtree_control
mkdir "$BOX_GROUP"
sh -c 'echo 0 > "$BOX_GROUP/cgroup.procs" && exec /usr/bin/unshare --cgroup --mount sh -c "
  umount /sys/fs/cgroup
  mount -t cgroup2 none /sys/fs/cgroup
  if [ -n \"\$BOX_FOREIGN\" ]; then (sleep 1000 > /dev/null 2>&1 &); fi
  exec \"\$@\"" sh "$@"' sh "$@"
status=$?
echo 1 > "$BOX_GROUP/cgroup.kill"
while grep -q '^populated 1' "$BOX_GROUP/cgroup.events"; do usleep 2000; done
find "$BOX_GROUP" -depth -type d -exec rmdir {} \;
exit $status
