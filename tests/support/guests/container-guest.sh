# PID 1 of the container guest goes on here (sourced by init.sh): a container's root can only take the place of one that is mounted, which an
# initramfs is not. What is on it goes to a tmpfs, and PID 1 with it; the rest is the v2 guest's.
mkdir /new
mount -t tmpfs -o mode=755 root /new
cp -a /bin /sbin /etc /new/
for directory in proc sys dev run tmp; do
  mkdir "/new/$directory"
  mount -o move "/$directory" "/new/$directory"
done
exec switch_root /new /bin/sh /sbin/guest
