# PID 1 of the systemd guest goes on here (sourced by init.sh): the root is the distribution's image over the one with Node (the former's
# libraries win), below a tmpfs that takes all writes. systemd becomes PID 1 and starts nothing but its basic units and the session.
mkdir -p /images/root /images/node /layers /new
mount -t ext4 -o ro /dev/vda /images/root
mount -t ext4 -o ro /dev/vdb /images/node
mount -t tmpfs layers /layers
mkdir /layers/upper /layers/work
mount -t overlay overlay -o lowerdir=/images/root:/images/node,upperdir=/layers/upper,workdir=/layers/work /new
mkdir /new/programs
(cd /new/programs && cpio -id < /dev/vdc 2> /dev/null)
cp /sbin/session /new/usr/sbin/nestling-session
cat > /new/etc/systemd/system/nestling-session.service <<'UNIT'
[Unit]
Description=Commands from the test
[Service]
ExecStart=/bin/sh /usr/sbin/nestling-session
Environment=HOME=/root
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
UNIT
cat > /new/etc/systemd/system/nestling.target <<'UNIT'
[Unit]
Requires=basic.target nestling-session.service
After=basic.target
UNIT
umount /run /tmp
for directory in proc sys dev; do mount -o move "/$directory" "/new/$directory"; done
exec switch_root /new /sbin/init
