/**
 * Run in a network namespace of its own: two containers on a bridge, that reach each other and the host's end. Prints what they printed, and
 * which interfaces are left when they are gone, as JSON.
 */
import { execFileSync, spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerLinks } from '../../src/driver/lxc/host/container-links.ts';
import { LinkNames } from '../../src/driver/lxc/host/link-names.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { readIp, runIpBatch } from '../../src/network/bridge/ip-command.ts';
import { NO_LEDGER, startBox } from './container-box.ts';

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
const live = await plugLive();
await listener.destroy();
const text = { caller: caller.output(), whileOpen, ...live, ...(await connectMany()) };
await Promise.all([caller[Symbol.asyncDispose](), listener[Symbol.asyncDispose]()]);
// The kernel takes a namespace down a moment after its last process.
const left = (): string => execFileSync('ip', ['-o', 'link', 'show', 'type', 'veth'], { encoding: 'utf8' });
for (let round = 0; round < 500 && left() !== ''; round++) await new Promise((resolve) => setTimeout(resolve, 10));
process.stdout.write(
  JSON.stringify({ ...text, left: ((await readIp(['link'])) as { ifname: string }[]).map(({ ifname }) => ifname) }),
);

/** An interface with limits for the container that runs, and away again. */
async function plugLive() {
  const { domain } =
    parseDomain(`<domain type='lxc'><name>x</name><devices><interface type='bridge'><source bridge='br0'/>
    <ip address='10.9.0.9' prefix='24'/><bandwidth><inbound average='1000'/></bandwidth></interface>
    <interface type='direct'><source dev='br0' mode='bridge'/></interface></devices></domain>`);
  const [pair, macvlan] = domain.devices?.interfaces ?? [];
  if (pair === undefined || macvlan === undefined) throw new Error('no interfaces');
  const inside = (): string =>
    execFileSync('nsenter', ['-t', String(listener.initPid), '-n', 'ip', '-o', 'addr'], { encoding: 'utf8' });
  const names = [await listener.links().attach(pair, 1), await listener.links().attach(macvlan, 2)];
  const hostEnd = pair.target?.dev ?? '';
  const limits = execFileSync('tc', ['class', 'show', 'dev', hostEnd], { encoding: 'utf8' });
  const with2 = inside();
  await listener.links().detach(pair);
  await listener.links().detach(macvlan);
  return { names, limits, with2, without: inside() };
}

/** Fifty at once, that know nothing of each other, as fifty processes would. */
async function connectMany() {
  const children = Array.from({ length: 50 }, () => spawn('unshare', ['-n', 'sleep', '1000'], { stdio: 'ignore' }));
  try {
    const ends = await Promise.all(
      children.map(async ({ pid = 0 }) => {
        while (readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net')) await pause(1);
        const { domain } = parseDomain(
          "<domain type='lxc'><name>x</name><devices><interface type='ethernet'/></devices></domain>",
        );
        await new ContainerLinks({ pid, ledger: NO_LEDGER, names: new LinkNames() }).connect(domain);
        return domain.devices?.interfaces[0]?.target?.dev;
      }),
    );
    return { distinct: new Set(ends).size };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}
