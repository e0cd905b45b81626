#!/bin/sh
# PID 1 of the Linux test guest (busybox): loads the modules in /lib/modules/order, says "nestling guest ready" on the
# console and gives a root shell there. The ACPI power button powers off. Kernel command line:
#   nestling.run="COMMAND"  runs it before the shell and prints "nestling run: exit STATUS"
#   nestling.net=dhcp       brings up eth0 with DHCP
#   nestling.login          a shell for people, in which Ctrl-C works
export PATH=/sbin:/bin HOME=/root TERM=vt100 PS1='nestling# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
hostname nestling
while read -r module; do
  insmod "/lib/modules/$module.ko" || echo "nestling guest: module $module does not load"
done < /lib/modules/order
# Names of virtio-serial ports, as udev makes them elsewhere.
for port in /sys/class/virtio-ports/*/name; do
  [ -s "$port" ] || continue
  mkdir -p /dev/virtio-ports
  device=${port%/name}
  ln -s "/dev/${device##*/}" "/dev/virtio-ports/$(cat "$port")"
done
ip link set lo up
# Guests of another kind go their own way from here, as PID 1.
[ ! -e /etc/guest.sh ] || . /etc/guest.sh
if [ -e /dev/input/event0 ]; then
  # It writes its pid once it listens: whoever sees "ready" may press the button.
  acpid -l /dev/null -p /run/acpid.pid
  for try in 1 2 3 4 5 6 7 8 9; do [ -s /run/acpid.pid ] || usleep 10000; done
fi
case " $(cat /proc/cmdline) " in
*' nestling.net=dhcp '*) udhcpc -q -n -i eth0 -s /etc/udhcpc.sh ;;
esac
echo 'nestling guest ready'
# busybox's poweroff, reboot and halt ask PID 1 with these signals. A shell handles them at once only while it waits.
trap 'busybox poweroff -f' USR2
trap 'busybox reboot -f' TERM
trap 'busybox halt -f' USR1
command=$(sed -n 's/.*nestling\.run="\([^"]*\)".*/\1/p; t; s/.*nestling\.run=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$command" ]; then
  sh -c "$command" < /dev/console &
  wait $!
  echo "nestling run: exit $?"
fi
# A shell started in the background ignores Ctrl-C for ever; login gives SIGINT back, but loses what was typed ahead.
shell=sh
case " $(cat /proc/cmdline) " in
*' nestling.login '*) shell='login -p -f root' ;;
esac
while :; do
  setsid cttyhack $shell < /dev/console &
  wait $!
done
