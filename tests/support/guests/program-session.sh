#!/bin/sh
# What a test guest does for its test: reads commands from the console, one a line ("ID COMMAND"), runs each with sh, and answers
# "@ID STATUS STDOUT STDERR", both texts in base64. "poweroff" ends the guest without asking anybody.
stty raw -echo < /dev/console
echo 'nestling session ready'
while read -r id command; do
  [ "$command" != poweroff ] || echo o > /proc/sysrq-trigger
  sh -c "$command" > /run/session.out 2> /run/session.err < /dev/null
  status=$?
  echo "@$id $status $(base64 -w0 /run/session.out) $(base64 -w0 /run/session.err)"
done
