# PID 1 of the guest with an agent goes on here (sourced by init.sh): programs and libraries from the first disk, the agent on its channel, and
# nothing else.
mkdir -p /node /home/app
mount -t ext4 -o ro /dev/vda /node
ln -s /node/usr /usr
ln -s /node/lib64 /lib64
echo 'app:x:1000:1000::/home/app:/bin/sh' >> /etc/passwd
echo 'app:x:1000:' >> /etc/group
export PATH=/usr/bin:/sbin:/bin
qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qga.pid -l /dev/null &
agent=$!
trap 'busybox poweroff -f' USR2
echo 'nestling guest ready'
while :; do
  wait $agent
  usleep 100000
done
