/** Run by `network-bandwidth.test.ts` in a network namespace that stands for a host with two guests: limits them, and prints how fast they were. */
import { execFileSync } from 'node:child_process';
import { Ledger } from '../../src/core/ledger.ts';
import { openInterfaceBandwidth } from '../../src/network/bandwidth/interface-bandwidth.ts';
import { openNetworkBandwidth } from '../../src/network/bandwidth/network-bandwidth.ts';
import { ask, bePeer, Peer, serveLoad } from './network-peers.ts';

const [what = '', dir = ''] = process.argv.slice(2);
const BRIDGE = 'vbr7';
const MACS = { g1: '52:54:00:00:00:01', g2: '52:54:00:00:00:02' };

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' });
}

async function plug(name: 'g1' | 'g2', host: number): Promise<Peer> {
  const peer = await Peer.start();
  ip('link', 'add', `v-${name}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(peer.pid));
  ip('link', 'set', `v-${name}`, 'master', BRIDGE, 'up');
  peer.run('ip', 'link', 'set', 'eth0', 'address', MACS[name], 'up');
  peer.run('ip', 'addr', 'add', `192.168.7.${host}/24`, 'dev', 'eth0');
  return peer;
}

async function measure(): Promise<unknown> {
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', BRIDGE, 'type', 'bridge', 'forward_delay', '0');
  ip('addr', 'add', '192.168.7.1/24', 'dev', BRIDGE);
  ip('link', 'set', BRIDGE, 'up');
  await serveLoad();
  using g1 = await plug('g1', 10);
  using g2 = await plug('g2', 11);
  using ledger = Ledger.open(dir);
  const receives = async (peer: Peer, fromMs = 0): Promise<number> =>
    Number(await peer.ask({ protocol: 'load', address: '192.168.7.1', fromMs }));
  const sends = async (fromMs = 0): Promise<number> =>
    Number(await ask({ protocol: 'load', address: '192.168.7.10', fromMs }));

  const free = { receives: await receives(g1), sends: await sends() };
  const limits = await openInterfaceBandwidth(
    'v-g1',
    { inbound: { average: 500, burst: 20 }, outbound: { average: 300, burst: 64 } },
    { ledger },
  );
  const recorded = ledger.entries.map(({ kind, identity }) => ({ kind, bridge: identity['bridge'] }));
  // When the burst is used up.
  const later = (): number => Date.now() + 1000;
  const limited = { receives: await receives(g1), sends: await sends(later()), other: await receives(g2) };
  // Whoever takes the guest over knows only the device.
  const adopted = await openInterfaceBandwidth('v-g1', {}, { ledger, isAdopted: true });
  await adopted[Symbol.asyncDispose]();
  const lifted = { receives: await receives(g1), sends: await sends() };
  await limits[Symbol.asyncDispose]();

  const network = {
    name: 'n',
    bridge: { name: BRIDGE },
    bandwidth: { inbound: { average: 1000, peak: 1000, burst: 20 } },
  };
  const shared = await openNetworkBandwidth(network, { ledger });
  const both = async (): Promise<number[]> => {
    // Both are connected by then, and what was queued before is gone.
    const fromMs = Date.now() + 2000;
    return await Promise.all([receives(g1, fromMs), receives(g2, fromMs)]);
  };
  const before = await both();
  // Whoever had less gets a share.
  const [first = 0, second = 0] = before;
  const poor = first < second ? 'g1' : 'g2';
  await shared.plug({ classId: 3, mac: MACS[poor], floor: 900 });
  const rates = await both();
  const kept = poor === 'g1' ? rates : rates.toReversed();
  const tooMuch = await shared.plug({ classId: 4, mac: MACS.g1, floor: 200 }).then(() => 'taken', String);
  await shared.unplug(3);
  await shared.update(undefined);
  const end = { receives: await receives(g1) };
  await shared[Symbol.asyncDispose]();
  const left = {
    qdiscs: execFileSync('tc', ['qdisc', 'show', 'dev', 'v-g1'], { encoding: 'utf8' }),
    rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
    ledger: ledger.entries,
  };
  return { free, limited, lifted, recorded, network: { before, kept, tooMuch, end }, left };
}

const result = what === 'peer' ? await bePeer() : await measure();
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit();
