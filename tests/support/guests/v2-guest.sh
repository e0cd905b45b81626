# PID 1 of the v2 guest goes on here (sourced by init.sh): Node and QEMU from the first disk, programs from the second, all controllers in one
# cgroup v2 hierarchy, no systemd. Everything that runs is in the hierarchy's real root.
mkdir -p /node /programs
mount -t ext4 -o ro /dev/vda /node
ln -s /node/usr /usr
ln -s /node/lib64 /lib64
ln -s /node/node_modules /node_modules
ln -s /proc/self/fd /dev/fd
(cd /programs && cpio -id < /dev/vdb 2> /dev/null)
mount -t cgroup2 none /sys/fs/cgroup
# busybox first has its own unshare, without --cgroup.
export PATH=/usr/bin:/sbin:/bin
exec /sbin/session < /dev/console > /dev/console 2>&1
