/**
 * Linux guests of our daemon on a network of each forward mode, in a network namespace that is the host, with another that is the outside: what
 * they get from DHCP, whom they reach and who reaches them, over IPv4 and IPv6; cards plugged while they run; forwarded ports; and what becomes of
 * all that when daemon and guests are killed.
 */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain } from '../../src/index.ts';
import { guestsOf, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { NetworkGuest, networkGuestXml } from '../support/guests/network-guest.ts';

const isPossible =
  spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'br0', 'type', 'bridge']).status === 0 &&
  ['dnsmasq', 'busybox', 'nft', 'virsh'].every(
    (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0,
  );
if (!isPossible)
  process.stderr.write(
    'SKIPPED: guests on networks need root, bridges, dnsmasq-base, nftables, busybox, libvirt-clients\n',
  );

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const PATIENCE_MS = 300_000;
const run = promisify(execFile);

/** Our namespace element. */
const NS = "xmlns:nestling='urn:nestling:network:1.0'";

/** In the order of the guests' cards. The outside serves DHCP on the last two. */
const MODES = ['nat', 'route', 'isolated', 'open', 'bridge', 'macvtap'] as const;
type Mode = (typeof MODES)[number];

const subnet = (name: string, bridge: string, number: number, forward: string, rest = ''): string =>
  `<network ${NS}><name>${name}</name>${forward}<bridge name='${bridge}' stp='off'/>
  <ip address='192.168.${number}.1' netmask='255.255.255.0'><dhcp><range start='192.168.${number}.100' end='192.168.${number}.150'/></dhcp></ip>
  <ip family='ipv6' address='fd${number}::1' prefix='64'/>
  <dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><dnsmasq:option value='no-ping'/></dnsmasq:options>${rest}</network>`;

const NETWORKS: Readonly<Record<Mode, string>> = {
  nat: subnet(
    'nat',
    'vbr71',
    71,
    "<forward mode='nat'><nat ipv6='yes'/></forward>",
    "<nestling:portForward port='8080' guest='alpha' to='80'/>",
  ),
  route: subnet('route', 'vbr72', 72, "<forward mode='route'/>"),
  isolated: subnet('isolated', 'vbr73', 73, ''),
  open: subnet('open', 'vbr74', 74, "<forward mode='open'/>"),
  bridge: "<network><name>bridge</name><forward mode='bridge'/><bridge name='hbr0'/></network>",
  macvtap: "<network><name>macvtap</name><forward mode='bridge'><interface dev='up0'/></forward></network>",
};
/** For the card that is plugged. */
const LATE = subnet(
  'late',
  'vbr75',
  75,
  "<forward mode='nat'/>",
  "<bandwidth><inbound average='5000'/></bandwidth><nestling:portForward port='8081' guest='alpha' to='80'/>",
).replace(
  '</network>',
  "<uuid>7b0a1d7c-0000-4000-8000-0000000000aa</uuid><mac address='52:54:00:75:00:01'/><portgroup name='slow'><bandwidth><inbound average='500'/></bandwidth></portgroup></network>",
);

const GUESTS = {
  alpha: { uuid: '7b0a1d7c-0000-4000-8000-00000000000a', number: 10 },
  beta: { uuid: '7b0a1d7c-0000-4000-8000-00000000000b', number: 11 },
} as const;
type Guest = keyof typeof GUESTS;
const NAMES: readonly Guest[] = ['alpha', 'beta'];

const macOf = (guest: Guest, card: number): string => `52:54:00:00:${GUESTS[guest].number}:0${card}`;
const LATE_CARD = `<interface type='network'><mac address='${macOf('alpha', 6)}'/><source network='late' portgroup='slow'/><model type='virtio'/></interface>`;

/** A network namespace. It ends with its holder. */
class Namespace implements Disposable {
  readonly #holder: ChildProcess;
  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<Namespace> {
    const holder = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo ready; exec sleep 1200'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (holder.stdout !== null) await once(holder.stdout, 'data');
    return new Namespace(holder);
  }

  get pid(): number {
    return this.#holder.pid ?? 0;
  }

  enter(...args: string[]): string[] {
    return ['nsenter', `--net=/proc/${this.pid}/ns/net`, ...args];
  }

  ip(...lines: string[]): void {
    const [command = '', ...args] = this.enter('ip', '-batch', '-');
    execFileSync(command, args, { input: lines.join('\n') });
  }

  async run(...args: string[]): Promise<string> {
    const [command = '', ...rest] = this.enter(...args);
    const { stdout } = await run(command, rest, { encoding: 'utf8' }).catch((error: { stdout: string }) => error);
    return stdout;
  }

  [Symbol.dispose](): void {
    this.#holder.kill('SIGKILL');
  }
}

describe.skipIf(!isPossible)('Linux guests on virtual networks', { timeout: PATIENCE_MS }, () => {
  let dir: string;
  let host: Namespace;
  let outside: Namespace;
  let foreignDhcp: ChildProcess;
  let daemon: TestDaemon;
  let connection: Connection;
  const guests = new Map<Guest, NetworkGuest>();

  const guest = (name: Guest): NetworkGuest => {
    const found = guests.get(name);
    if (found === undefined) throw new Error(`no guest ${name}`);
    return found;
  };
  const domainOf = async (name: Guest): Promise<Domain> => await connection.lookupDomainByName(name);
  const virsh = async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await run('virsh', ['-c', daemon.uri, ...args], { encoding: 'utf8' }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    return stdout + stderr;
  };
  const portsOf = async (network: string): Promise<number> =>
    (await connection.networks.listPorts((await connection.networks.lookupByName(network)).uuid)).length;
  /** What the guest's web server answers through a port of the host; nothing where there is none. */
  const fetch = async (port: number): Promise<string> => {
    const request = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 15 192.0.2.1 ${port}`;
    return (await outside.run('sh', '-c', request)).split('\r\n\r\n')[1]?.trim() ?? '';
  };

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nestling-netguests-'));
    host = await Namespace.make();
    outside = await Namespace.make();
    layCables(host, outside);
    foreignDhcp = await serveDhcp(outside, dir);
    const cli = join(dir, 'cli');
    writeFileSync(cli, `#!/bin/sh\nexec ${host.enter(CLI).join(' ')} "$@"\n`);
    chmodSync(cli, 0o755);
    daemon = await startDaemon([], { cli });
    connection = await connect(daemon.uri);
    for (const mode of MODES) await connection.networks.createXml(NETWORKS[mode]);
    await Promise.all(
      NAMES.map(async (name) => {
        const socket = join(dir, `${name}.sock`);
        const cards = MODES.map(
          (mode, card) =>
            `<interface type='network'><mac address='${macOf(name, card)}'/><source network='${mode}'/><model type='virtio'/></interface>`,
        );
        const spare = Array.from(
          { length: 10 },
          (_, n) => `<controller type='pci' index='${n + 1}' model='pcie-root-port'/>`,
        );
        await connection.createDomain(
          await networkGuestXml({ name, uuid: GUESTS[name].uuid, socket, devices: [...cards, ...spare].join('') }),
        );
        const session = await NetworkGuest.attach(socket);
        guests.set(name, session);
        await session.ready();
      }),
    );
  }, PATIENCE_MS);

  afterAll(async () => {
    for (const session of guests.values()) session[Symbol.dispose]();
    for (const domain of await connection.listAllDomains({ active: true })) await domain.destroy();
    for (const { uuid } of await connection.networks.list({ active: true })) await connection.networks.destroy(uuid);
    await connection.close();
    await daemon[Symbol.asyncDispose]();
    foreignDhcp.kill('SIGKILL');
    host[Symbol.dispose]();
    outside[Symbol.dispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  it('get a lease on each, and are told of as libvirt does', async () => {
    const found = Object.fromEntries(
      await Promise.all(NAMES.map(async (name) => [name, await addresses(guest(name))] as const)),
    );
    for (const name of NAMES) {
      expect(found[name]).toEqual([
        expect.stringMatching(/^192\.168\.71\.1[0-5]\d$/),
        expect.stringMatching(/^192\.168\.72\.1[0-5]\d$/),
        expect.stringMatching(/^192\.168\.73\.1[0-5]\d$/),
        expect.stringMatching(/^192\.168\.74\.1[0-5]\d$/),
        expect.stringMatching(/^10\.66\.0\.1[0-5]\d$/),
        expect.stringMatching(/^10\.67\.0\.1[0-5]\d$/),
      ]);
    }
    const leases = await virsh('net-dhcp-leases', 'nat');
    expect(leases).toMatch(new RegExp(`${macOf('alpha', 0)} +ipv4 +${found['alpha']?.[0] ?? ''}/24 +alpha`));
    const interfaces = await virsh('domifaddr', 'beta');
    expect(interfaces).toMatch(new RegExp(`vnet\\d+ +${macOf('beta', 2)} +ipv4 +${found['beta']?.[2] ?? ''}/24`));
  });

  it('reach the host, each other and the outside where their mode lets them, and are reached', async () => {
    const own = Object.fromEntries(
      await Promise.all(NAMES.map(async (name) => [name, await allAddresses(guest(name))] as const)),
    );
    const { alpha = [], beta = [] } = own;
    // It has no router, and what it is kept from is not to be for want of a way.
    for (const name of NAMES) {
      await guest(name).run(
        'ip route add default via 192.168.73.1 dev eth2 metric 99; ip -6 route add default via fd73::1 dev eth2 metric 9999',
      );
    }
    const wanted = ['host', 'peer', 'outside'] as const;
    const targets = (peers: readonly Addresses[]): string[] =>
      MODES.flatMap((mode, card) =>
        wanted.flatMap((to) =>
          hops(mode, card, to, peers).map(
            (address) => `eth${card} ${address} ${mode} ${to}${address.includes(':') ? 6 : 4}`,
          ),
        ),
      );
    const [fromAlpha, fromBeta] = await Promise.all([
      ping(guest('alpha'), targets(beta)),
      ping(guest('beta'), targets(alpha)),
    ]);
    expect(fromAlpha).toEqual(REACHED);
    expect(fromBeta).toEqual(REACHED);
    const seen = await Promise.all(
      MODES.flatMap((mode, card) =>
        [alpha[card]?.ipv4, alpha[card]?.ipv6].flatMap((address) =>
          address === undefined
            ? []
            : [
                outside
                  .run('busybox', address.includes(':') ? 'ping6' : 'ping', '-c', '2', '-W', '1', address)
                  .then((said) =>
                    / 0% packet loss|, 1 packets received/.test(said)
                      ? [`${mode} ${address.includes(':') ? 6 : 4}`]
                      : [],
                  ),
              ],
        ),
      ),
    );
    expect(seen.flat()).toEqual(['route 4', 'route 6', 'open 4', 'open 6', 'bridge 4', 'macvtap 4']);
  });

  it('take a card of a network while they run, with its bandwidth, forwards and lease; and give it back', async () => {
    await connection.networks.createXml(LATE);
    const alpha = await domainOf('alpha');
    const before = await alpha.xmlDesc();
    await connection.networks.define("<network><name>stopped</name><bridge name='vbr76'/></network>");
    expect(await virsh('attach-interface', 'alpha', 'network', 'stopped', '--live')).toMatch(
      /network 'stopped' is not active/,
    );
    expect(await virsh('attach-interface', 'alpha', 'network', 'none', '--live')).toMatch(
      /no network with matching name 'none'/,
    );
    expect(await alpha.xmlDesc()).toBe(before);
    await connection.networks.undefine((await connection.networks.lookupByName('stopped')).uuid);

    await alpha.attachDevice(LATE_CARD, { live: true });
    const xml = await alpha.xmlDesc();
    const [, portid, dev = ''] =
      /<source network='late' portgroup='slow' portid='([0-9a-f-]{36})' bridge='vbr75'\/>[^]*?<target dev='(vnet\d+)'/.exec(
        xml,
      ) ?? [];
    expect(portid).toBeDefined();
    // The others have kept theirs.
    for (const [, port] of before.matchAll(/portid='([0-9a-f-]+)'/g)) expect(xml).toContain(port);
    expect(before.match(/<target dev='\w+'/g)?.every((target) => xml.includes(target))).toBe(true);
    const port = await virsh('net-port-dumpxml', 'late', portid ?? '');
    expect(port).toMatch(/<group>slow<\/group>|group='slow'/);
    expect(port).toMatch(/<inbound average='500'\/>/);
    expect(await host.run('tc', 'class', 'show', 'dev', dev)).toMatch(/rate 4Mbit/);

    await guest('alpha').run('join eth6');
    const [address = ''] = await addresses(guest('alpha'), [6]);
    expect(address).toMatch(/^192\.168\.75\.1/);
    await guest('alpha').run('mkdir -p /www; echo I am alpha > /www/index.html; httpd -p 80 -h /www');
    expect([await fetch(8080), await fetch(8081)]).toEqual(['I am alpha', 'I am alpha']);

    // Another daemon knows of it, and a network that is started anew has its guest back.
    await daemon.crash();
    connection = await reconnect(connection, daemon);
    expect(await portsOf('late')).toBe(1);
    expect(await (await domainOf('alpha')).xmlDesc()).toBe(xml);
    expect(await fetch(8081)).toBe('I am alpha');
    await connection.networks.define(LATE);
    expect(await virsh('net-destroy', 'late')).toContain('destroyed');
    expect(await fetch(8081)).toBe('');
    expect(await virsh('net-start', 'late')).toContain('started');
    expect(await fetch(8081)).toBe('I am alpha');

    expect(await virsh('detach-interface', 'alpha', 'network', '--mac', macOf('alpha', 6), '--live')).toContain(
      'Interface detached successfully',
    );
    expect(await portsOf('late')).toBe(0);
    expect(await fetch(8081)).toBe('');
    expect(await fetch(8080)).toBe('I am alpha');
    expect(await host.run('ip', 'link', 'show', 'dev', dev)).toBe('');
  });

  it('lose a card that was on its way when the daemon was killed, and the place that was for it', async () => {
    const attaching = (await domainOf('beta')).attachDevice(LATE_CARD.replace(macOf('alpha', 6), macOf('beta', 6)), {
      live: true,
    });
    const outcome = attaching.then(
      () => 'attached',
      () => 'lost',
    );
    await daemon.crash();
    await outcome;
    connection = await reconnect(connection, daemon);
    const xml = await (await domainOf('beta')).xmlDesc();
    const isThere = xml.includes(macOf('beta', 6));
    expect(await portsOf('late')).toBe(isThere ? 1 : 0);
    const devices = await host.run('ip', '-o', 'link', 'show', 'master', 'vbr75');
    expect(devices.includes('fe:54:00')).toBe(isThere);
  });

  it('take their forwards along when they are killed, with their daemon or without', async () => {
    expect(await fetch(8080)).toBe('I am alpha');
    // Both at the same time: nobody is there to see it.
    await daemon.stop('SIGKILL');
    const [beta = 0] = guestsOf(daemon.stateDir).filter((pid) => isGuest(pid, 'guest=beta'));
    const [alpha = 0] = guestsOf(daemon.stateDir).filter((pid) => isGuest(pid, 'guest=alpha'));
    process.kill(alpha, 'SIGKILL');
    await daemon.start();
    connection = await reconnect(connection, daemon);
    expect(await fetch(8080)).toBe('');
    expect(await portsOf('nat')).toBe(1);
    expect(await host.run('nft', 'list', 'ruleset')).not.toMatch(/dnat/);
    expect(await portsOf('macvtap')).toBe(1);
    const ended = (await domainOf('beta')).waitForStop();
    process.kill(beta, 'SIGKILL');
    await ended;
    // What it had is given back once its end is told.
    for (const mode of [...MODES, 'late']) while ((await portsOf(mode)) > 0);
    expect(await host.run('ip', '-o', 'link')).not.toMatch(/vnet|macvtap\d/);
  });
});

/** The host's way to the outside, a bridge of its own, and a device for macvtap; all of them lead outside. */
function layCables(host: Namespace, outside: Namespace): void {
  host.ip(
    `link add out0 type veth peer name eth0 netns ${outside.pid}`,
    'addr add 192.0.2.1/24 dev out0',
    'addr add 2001:db8::1/64 dev out0 nodad',
    'link set out0 up',
    'link add hbr0 type bridge stp_state 0 forward_delay 0',
    'addr add 10.66.0.2/24 dev hbr0',
    'link set hbr0 up',
    `link add port0 type veth peer name eth1 netns ${outside.pid}`,
    'link set port0 master hbr0 up',
    `link add up0 type veth peer name eth2 netns ${outside.pid}`,
    'addr add 10.67.0.2/24 dev up0',
    'link set up0 up',
  );
  outside.ip(
    'addr add 192.0.2.2/24 dev eth0',
    'addr add 2001:db8::2/64 dev eth0 nodad',
    'addr add 10.66.0.1/24 dev eth1',
    'addr add 10.67.0.1/24 dev eth2',
    ...['eth0', 'eth1', 'eth2'].map((name) => `link set ${name} up`),
    // It knows the way to all guests, so that only rules keep it out.
    ...[71, 72, 73, 74, 75].flatMap((number) => [
      `route add 192.168.${number}.0/24 via 192.0.2.1`,
      `route add fd${number}::/64 via 2001:db8::1`,
    ]),
  );
}

/** Who gives out leases on networks that merely name devices of the host. */
async function serveDhcp(outside: Namespace, dir: string): Promise<ChildProcess> {
  const [command = '', ...args] = outside.enter(
    'dnsmasq',
    '--keep-in-foreground',
    '--log-facility=-',
    '--conf-file=/dev/null',
    '--port=0',
    '--bind-interfaces',
    '--interface=eth1',
    '--interface=eth2',
    '--except-interface=lo',
    '--dhcp-range=10.66.0.100,10.66.0.150',
    '--dhcp-range=10.67.0.100,10.67.0.150',
    `--dhcp-leasefile=${join(dir, 'leases')}`,
    '--no-ping',
    '--user=root',
    '--pid-file=',
  );
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  if (child.stderr !== null) await once(child.stderr, 'data');
  return child;
}

async function addresses(guest: NetworkGuest, cards = [0, 1, 2, 3, 4, 5]): Promise<string[]> {
  const list = await guest.run(
    `for card in ${cards.join(' ')}; do ip -4 -o addr show dev eth$card | sed 's/.*inet \\([0-9.]*\\).*/\\1/'; done`,
  );
  return list.trim().split('\n');
}

interface Addresses {
  readonly ipv4: string;
  readonly ipv6: string | undefined;
}

/** Waits for what routers tell: it may come some seconds after the guest is up. */
async function allAddresses(guest: NetworkGuest): Promise<Addresses[]> {
  const ipv4 = await addresses(guest);
  const list = await guest.run(
    `for card in 0 1 2 3; do until ip -6 -o addr show dev eth$card scope global | grep -qv tentative; do usleep 100000; done; ip -6 -o addr show dev eth$card scope global | sed 's/.*inet6 \\([0-9a-f:]*\\).*/\\1/;q'; done`,
  );
  const ipv6 = list.trim().split('\n');
  return ipv4.map((address, card) => ({ ipv4: address, ipv6: ipv6[card] }));
}

/** Where a card's packets are sent. */
function hops(mode: Mode, card: number, to: 'host' | 'peer' | 'outside', peers: readonly Addresses[]): string[] {
  if (to === 'peer') return [peers[card]?.ipv4, peers[card]?.ipv6].filter((address) => address !== undefined);
  if (mode === 'bridge' || mode === 'macvtap') return [`10.${62 + card}.0.${to === 'host' ? 2 : 1}`];
  if (to === 'outside') return ['192.0.2.2', '2001:db8::2'];
  return [`192.168.${71 + card}.1`, `fd${71 + card}::1`];
}

/** Whom every guest reaches. Whoever has a macvtap does not see the host behind it: that is the kernel's way. */
const REACHED: readonly string[] = [
  ...['nat', 'route'].flatMap((mode) =>
    ['host', 'peer', 'outside'].flatMap((to) => [`${mode} ${to}4`, `${mode} ${to}6`]),
  ),
  ...['host', 'peer'].flatMap((to) => [`isolated ${to}4`, `isolated ${to}6`]),
  ...['host', 'peer', 'outside'].flatMap((to) => [`open ${to}4`, `open ${to}6`]),
  ...['host', 'peer', 'outside'].map((to) => `bridge ${to}4`),
  ...['peer', 'outside'].map((to) => `macvtap ${to}4`),
];

/** All at once. @param targets each with card, address and its name; @returns names of those that answered */
async function ping(guest: NetworkGuest, targets: readonly string[]): Promise<string[]> {
  const calls = targets.map((target) => {
    const [card = '', address = '', ...name] = target.split(' ');
    const program = address.includes(':') ? 'ping6' : 'ping';
    return `(${program} -c 2 -W 2 -I ${card} ${address} > /dev/null 2>&1 && echo ${name.join(' ')}) &`;
  });
  const answered = new Set((await guest.run(`${calls.join(' ')} wait`)).trim().split('\n'));
  return targets.map((target) => target.split(' ').slice(2).join(' ')).filter((name) => answered.has(name));
}

async function reconnect(before: Connection, { uri }: TestDaemon): Promise<Connection> {
  await before.close();
  return await connect(uri);
}

function isGuest(pid: number, name: string): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(name);
}
