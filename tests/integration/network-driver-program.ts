/**
 * Run by `network-driver.test.ts` in a network namespace of its own, which is the host: networks of an embedded connection, and namespaces that stand for
 * guests. Carries out what its first argument says and prints what it has seen, as JSON.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Connection, connect } from '../../src/index.ts';

const [what = '', dir = ''] = process.argv.slice(2);

const HOSTS = join(dir, 'hosts');
const NETWORK = `<network xmlns:nestling='urn:nestling:network:1.0'><name>lab</name><domain name='lab.example'/><bridge name='lab0' stp='off'/>
  <dns><host ip='192.168.77.5'><hostname>printer</hostname></host><txt name='note' value='hello you'/></dns>
  <ip address='192.168.77.1' netmask='255.255.255.0'><dhcp><range start='192.168.77.100' end='192.168.77.120'/>
    <host mac='52:54:00:00:77:01' name='fixed' ip='192.168.77.50'/></dhcp></ip>
  <ip family='ipv6' address='fd77::1' prefix='64'/><route address='192.168.78.0' prefix='24' gateway='192.168.77.50'/>
  <nestling:dhcpHostsFile path='${HOSTS}'/></network>`;

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

function devices(): string[] {
  const links = JSON.parse(ip('-j', 'link')) as { ifname: string }[];
  return links.map(({ ifname }) => ifname).filter((name) => name !== 'lo');
}

/** A namespace with one card on a bridge. It ends with this process, and its card with it. */
async function guestOn(
  bridge: string,
  name: string,
  mac: string,
): Promise<{ run: (...args: string[]) => Promise<string>; end: () => void }> {
  const holder: ChildProcess = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo ready; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (holder.stdout !== null) await once(holder.stdout, 'data');
  const pid = String(holder.pid);
  ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid);
  ip('link', 'set', name, 'master', bridge, 'up');
  const run = async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await promisify(execFile)('nsenter', ['-t', pid, '-n', ...args], { encoding: 'utf8' });
    return stdout + stderr;
  };
  await run('ip', 'link', 'set', 'eth0', 'address', mac, 'up');
  return { run, end: () => holder.kill('SIGKILL') };
}

async function askForLease(run: (...args: string[]) => Promise<string>, hostname: string): Promise<string> {
  const script = join(dir, 'udhcpc');
  writeFileSync(
    script,
    '#!/bin/sh\n[ "$1" = bound ] && ip addr add $ip/$mask dev $interface && echo "GOT $ip/$mask ${router:-none} ${domain:-none}"\nexit 0\n',
  );
  chmodSync(script, 0o755);
  const said = await run(
    'busybox',
    'udhcpc',
    '-i',
    'eth0',
    '-s',
    script,
    '-n',
    '-q',
    '-t',
    '20',
    '-T',
    '1',
    '-x',
    `hostname:${hostname}`,
  );
  return /GOT (.*)/.exec(said)?.[1] ?? said;
}

async function resolve(run: (...args: string[]) => Promise<string>, name: string): Promise<string | undefined> {
  const said = await run('busybox', 'nslookup', '-type=a', name, '192.168.77.1').catch((error: unknown) =>
    String(error),
  );
  return /Name:\s+\S+\s+Address(?: 1)?: (\S+)/.exec(said)?.[1];
}

async function serve(): Promise<unknown> {
  const notes: string[] = [];
  await using connection = await connect('qemu:///embed', { onNote: (note) => notes.push(note) });
  const { networks } = connection;
  const missing = await networks.createXml(NETWORK).then(() => '', String);
  writeFileSync(HOSTS, '# none yet\n');
  const network = await networks.createXml(NETWORK);
  const one = await guestOn('lab0', 'veth1', '52:54:00:00:77:01');
  const two = await guestOn('lab0', 'veth2', '52:54:00:00:77:02');
  const answers = {
    bridge: JSON.parse(ip('-j', '-d', 'address', 'show', 'dev', 'lab0')) as unknown,
    routes: ip('route'),
    raAccepted: readFileSync('/proc/sys/net/ipv6/conf/lab0/accept_ra', 'utf8').trim(),
    fixed: await askForLease(one.run, 'one'),
    dynamic: await askForLease(two.run, 'two'),
    toHost: await one.run('busybox', 'ping', '-c', '1', '-W', '2', '192.168.77.1').then(() => true),
    toEachOther: await two.run('busybox', 'ping', '-c', '1', '-W', '2', '192.168.77.50').then(() => true),
    names: [
      await resolve(two.run, 'printer'),
      await resolve(one.run, 'two.lab.example'),
      await resolve(two.run, 'fixed'),
    ],
    leases: await networks.dhcpLeases(network.uuid),
  };
  await networks.update(network.uuid, {
    command: 'add-last',
    section: 'dns-host',
    parentIndex: -1,
    xml: "<host ip='192.168.77.9'><hostname>late</hostname></host>",
  });
  const late = await resolve(one.run, 'late');
  const afterUpdate = await networks.dhcpLeases(network.uuid);
  writeFileSync(HOSTS, 'listed,192.168.77.60\n');
  let listed = '';
  for (let turn = 0; turn < 5 && !listed.startsWith('192.168.77.60/'); turn++)
    listed = await askForLease(two.run, 'listed');
  writeFileSync(HOSTS, 'listed\n');
  while (!notes.some((note) => note.includes('hosts:1'))) await new Promise((resolve) => setImmediate(resolve));
  // Stopped under its guests and started again, they are back on it.
  await networks.define(NETWORK.replace('<name>', `<uuid>${network.uuid}</uuid><name>`));
  await networks.destroy(network.uuid);
  const stopped = devices();
  one.end();
  two.end();
  return {
    ...answers,
    late,
    missing,
    listed,
    note: notes.find((note) => note.includes('hosts:1')),
    leasesKept: afterUpdate.length,
    stopped,
    rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
  };
}

/** Started by `killed`: an owner that is killed while it has networks. */
async function own(): Promise<never> {
  writeFileSync(HOSTS, '');
  const connection = await connect('qemu:///embed');
  await connection.networks.createXml(NETWORK);
  process.stdout.write('ready\n');
  await new Promise(() => {
    setInterval(() => {}, 1000);
  });
  throw new Error('it was to be killed');
}

async function killed(): Promise<unknown> {
  const owner = spawn(process.execPath, [process.argv[1] ?? '', 'own', dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  if (owner.stdout !== null) await once(owner.stdout, 'data');
  const before = { devices: devices(), servers: dnsmasqPids() };
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  // Any connection collects what is left.
  await using connection = await connect('qemu:///embed');
  await connection.networks.list();
  return {
    before: { devices: before.devices, servers: before.servers.length },
    after: devices(),
    alive: before.servers.filter((pid) => isRunning(pid)).length,
    rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }),
  };
}

/** Those of this network namespace. */
function dnsmasqPids(): string[] {
  const own = readlinkSync('/proc/self/ns/net');
  return readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && commandOf(pid).endsWith('dnsmasq') && namespaceOf(pid) === own,
  );
}

function namespaceOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    // It has ended meanwhile.
    return '';
  }
}

function commandOf(pid: string): string {
  return existsSync(`/proc/${pid}/cmdline`) ? (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '') : '';
}

function isRunning(pid: string): boolean {
  const status = existsSync(`/proc/${pid}/status`) ? readFileSync(`/proc/${pid}/status`, 'utf8') : '';
  return status !== '' && !/^State:\s+Z/m.test(status);
}

async function refuse(): Promise<unknown> {
  await using connection = await connect('qemu:///embed');
  const { networks } = connection;
  const words = async (xml: string): Promise<string> =>
    await networks.createXml(xml).then(
      () => 'started',
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  const at = (name: string, address: string, rest = ''): string =>
    `<network><name>${name}</name>${rest}<ip address='${address}' netmask='255.255.255.0'/></network>`;
  ip('link', 'add', 'mine0', 'type', 'bridge');
  return {
    first: await words(at('first', '10.7.0.1')),
    sameSubnet: await words(at('second', '10.7.0.9')),
    sameBridge: await words(at('third', '10.8.0.1', `<bridge name='${await bridgeOf(connection, 'first')}'/>`)),
    othersBridge: await words(at('fourth', '10.9.0.1', "<bridge name='mine0'/>")),
    noServer: await words(
      at('fifth', '10.10.0.1', "<dns><forwarder addr='10.10.0.1' domain='x'/></dns>").replace(
        '</network>',
        "<d:options xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><d:option value='nonsense'/></d:options></network>",
      ),
    ),
    devices: devices(),
  };
}

async function bridgeOf({ networks }: Connection, name: string): Promise<string> {
  return await networks.bridgeName((await networks.lookupByName(name)).uuid);
}

/** Guests of virtual networks, started for real; their first instruction is none. */
async function guests(): Promise<unknown> {
  await using connection = await connect('qemu:///embed');
  const { networks } = connection;
  ip('link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up1');
  ip('link', 'set', 'up0', 'up');
  const pool = await networks.createXml(
    "<network><name>pool</name><forward mode='bridge'><interface dev='up0'/></forward></network>",
  );
  const devicesXml = (network: string, mac: string): string =>
    `<interface type='network'><mac address='${mac}'/><source network='${network}'/><model type='virtio'/></interface>`;
  const guest = await connection.createDomain(
    `<domain type='qemu'><name>both</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>` +
      `${devicesXml('default', '52:54:00:00:00:0a')}${devicesXml('pool', '52:54:00:00:00:0b')}</devices></domain>`,
    { paused: true },
  );
  const standard = await networks.lookupByName('default');
  const seen = {
    xml: await guest.xmlDesc(),
    links: (
      JSON.parse(ip('-j', '-d', 'link')) as { ifname: string; master?: string; link?: string; address: string }[]
    ).filter(({ ifname }) => /^(?:vnet|macvtap)/.test(ifname)),
    port: await networks.portXmlDesc((await networks.listPorts(standard.uuid))[0] ?? { network: standard, uuid: '' }),
    uses: await networks.xmlDesc(pool.uuid),
  };
  await networks.destroy(standard.uuid);
  const inactive = await connection
    .createDomain(
      `<domain type='qemu'><name>late</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>${devicesXml('nowhere', '52:54:00:00:00:0c')}</devices></domain>`,
    )
    .then(
      () => 'started',
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  const unplugged = masterOf('vnet0');
  await networks.create(standard.uuid);
  const replugged = masterOf('vnet0');
  await guest.destroy();
  return {
    ...seen,
    unplugged,
    replugged,
    inactive,
    after: devices(),
    portsAfter: (await networks.listPorts(standard.uuid)).length,
  };
}

function masterOf(device: string): string | undefined {
  const [link] = JSON.parse(ip('-j', 'link', 'show', 'dev', device)) as { master?: string }[];
  return link?.master;
}

const actions: Readonly<Record<string, () => Promise<unknown>>> = { serve, own, killed, refuse, guests };
ip('link', 'set', 'lo', 'up');
const seen = await actions[what]?.();
process.stdout.write(
  `${JSON.stringify(seen, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}\n`,
);
