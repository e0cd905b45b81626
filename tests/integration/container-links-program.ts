/**
 * Run in a network namespace of its own: one container with an interface of each kind and what can be said of them. Prints what it sees of them, and what is
 * left of them on the host when it is gone, as JSON.
 */
import { readIp, runIpBatch } from '../../src/network/bridge/ip-command.ts';
import { pollUntil } from '../support/poll.ts';
import { startBox } from './container-box.ts';

const [folder = '', rootfs = ''] = process.argv.slice(2);
// There are no dummy interfaces on every kernel: pairs stand for cards.
await runIpBatch([
  'link add up0 type veth peer name up1',
  'link add gift0 type veth peer name gift1',
  'link set dev up0 up',
  'link set dev up1 up',
  'link set dev gift1 up',
]);
const devices = `
  <interface type='direct'><source dev='up0' mode='bridge'/><mac address='52:54:00:00:00:01'/><guest dev='mac0'/><ip address='192.0.2.1' family='ipv4' prefix='24'/></interface>
  <interface type='ethernet'><mac address='52:54:00:00:00:02'/><ip address='198.51.100.1' family='ipv4' prefix='32' peer='198.51.100.2'/><ip address='2001:db8::1' family='ipv6' prefix='64'/></interface>
  <interface type='ethernet'><mac address='52:54:00:00:00:03'/><link state='down'/></interface>
  <interface type='ethernet'><mac address='52:54:00:00:00:04'/><mtu size='1400'/><guest dev='small'/><ip address='10.7.0.2' family='ipv4' prefix='24'/><ip address='2001:db8:7::2' family='ipv6' prefix='64'/><route family='ipv6' address='2001:db8:8::' prefix='48' gateway='2001:db8:7::1' metric='7'/><route family='ipv4' address='203.0.113.0' prefix='24' gateway='10.7.0.1'/></interface>
  <hostdev mode='capabilities' type='net'><source><interface>gift0</interface></source><ip address='192.0.2.129' family='ipv4' prefix='25'/></hostdev>`;
const box = await startBox({
  folder,
  rootfs,
  devices,
  line: 'ip -o link; ip -o addr; ip route; ip -6 route; exit 0',
});
await box.ended;
const inside = box.output();
await box[Symbol.asyncDispose]();
const names = async (): Promise<string[]> =>
  ((await readIp(['link'])) as { ifname: string }[]).map(({ ifname }) => ifname).toSorted();
// The kernel takes a namespace down a moment after its last process.
await pollUntil(async () => !(await names()).includes('gift1'), 'the namespace is still there');
process.stdout.write(JSON.stringify({ inside, left: await names() }));
