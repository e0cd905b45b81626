/**
 * Run in a network namespace of its own: two containers on a bridge, that reach each other and the host's end. Prints what they printed, and
 * which interfaces are left when they are gone, as JSON.
 */
import { execFileSync } from 'node:child_process';
import { readIp, runIpBatch } from '../../src/network/bridge/ip-command.ts';
import { startBox } from './container-box.ts';

const [folder = '', rootfs = ''] = process.argv.slice(2);
await runIpBatch([
  'link add br0 type bridge',
  'addr add 10.9.0.1/24 dev br0',
  'link set dev br0 up',
  'link set dev lo up',
]);

const card = (number: number): string => `<interface type='bridge'><mac address='52:54:00:00:00:0${number}'/>
  <source bridge='br0'/><ip address='10.9.0.${number}' prefix='24'/><route address='0.0.0.0' gateway='10.9.0.1'/><guest dev='lan0'/></interface>`;
const listener = await startBox({
  folder,
  rootfs,
  devices: card(2),
  line: 'echo hello from two | nc -l -p 7000 & while ! cat /proc/net/tcp /proc/net/tcp6 | grep -q :1B58; do :; done; echo ready; wait; sleep 100',
});
await listener.until('ready');
const caller = await startBox({
  folder,
  rootfs,
  devices: card(3),
  line: 'ip -o addr show dev lan0; ip route; ping -c 1 -W 5 10.9.0.1 | tail -2; sleep 5 | nc -w 5 10.9.0.2 7000',
});
await caller.ended;
const whileOpen = execFileSync('ip', ['-o', 'link', 'show', 'master', 'br0'], { encoding: 'utf8' });
await listener.destroy();
const text = { caller: caller.output(), whileOpen };
await Promise.all([caller[Symbol.asyncDispose](), listener[Symbol.asyncDispose]()]);
// The kernel takes a namespace down a moment after its last process.
const left = (): string => execFileSync('ip', ['-o', 'link', 'show', 'type', 'veth'], { encoding: 'utf8' });
for (let round = 0; round < 500 && left() !== ''; round++) await new Promise((resolve) => setTimeout(resolve, 10));
process.stdout.write(
  JSON.stringify({ ...text, left: ((await readIp(['link'])) as { ifname: string }[]).map(({ ifname }) => ifname) }),
);
