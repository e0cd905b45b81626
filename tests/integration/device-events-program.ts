/** In a network namespace of its own: makes a pair of interfaces, removes it, and prints what the events tell of it. */
import { execFileSync } from 'node:child_process';
import { NodeDevices } from '../../src/driver/nodedev/node-devices.ts';

const PAIR = 'link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02';

using devices = await NodeDevices.open();
// The program is to end if nothing comes.
const signal = AbortSignal.timeout(30_000);
// Listening alone keeps no program running.
const alive = setInterval(() => {}, 1000);
const events = devices.events({ signal });
execFileSync('ip', PAIR.split(' '));
let seen = 0;
for await (const event of events) {
  if (event.kind === 'lifecycle') process.stdout.write(`${event.type} ${event.device}\n`);
  seen++;
  if (seen === 2) execFileSync('ip', ['link', 'del', 'v0']);
  if (seen === 4) break;
}
clearInterval(alive);
