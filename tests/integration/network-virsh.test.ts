/**
 * The same virsh session about networks with Debian's libvirtd and with our daemon, each on a host of its own (a network namespace): what virsh prints is the
 * same, but for what is made up anew each time. Then what becomes of networks when our daemon is killed.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type TypedParameters, VirtError } from '../../src/index.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { hasLibvirtd, type Libvirtd, startLibvirtd } from '../support/libvirtd.ts';

const isPossible =
  spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'br0', 'type', 'bridge']).status === 0 &&
  ['dnsmasq', 'virsh', 'nft'].every((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0);
if (!isPossible)
  process.stderr.write(
    'SKIPPED: networks through virsh need root, bridges, dnsmasq-base, nftables and libvirt-clients\n',
  );
if (!hasLibvirtd()) process.stderr.write('SKIPPED: no libvirtd to compare with (libvirt-daemon-system)\n');

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const UUID = '0d6f2a3c-52c1-4b6a-9e0d-6b1f7f1f7a01';
const FULL = `<network ipv6='yes' xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>full</name><uuid>${UUID}</uuid>
  <portgroup name='g' default='yes'><bandwidth><inbound average='100'/></bandwidth></portgroup><mac address='52:54:00:e5:1d:42'/>
  <forward dev='lo'><nat ipv6='yes'><port start='1000' end='2000'/><address start='1.2.3.4' end='1.2.3.5'/></nat></forward>
  <bridge name='virbrx' delay='3'/><domain localOnly='yes' name='ex.com'/><mtu size='1400'/>
  <dns forwardPlainNames='no'><host ip='192.168.50.9'><hostname>a</hostname></host><srv service='s' protocol='tcp' target='t' port='3' domain='d'/>
    <txt name='n' value='v w'/><forwarder addr='1.2.3.4' domain='x'/></dns>
  <route gateway='192.168.50.2' prefix='24' address='192.168.60.0' metric='2'/>
  <ip address='192.168.50.1' prefix='24' localPtr='yes'><dhcp><bootp server='10.0.0.1' file='f'/>
    <host ip='192.168.50.7' name='n7' mac='52:54:00:AA:00:01'><lease unit='hours' expiry='3'/></host>
    <range end='192.168.50.100' start='192.168.50.50'><lease expiry='10'/></range></dhcp><tftp root='/'/></ip>
  <ip family='ipv6' address='2001:0db8::1' prefix='64'/>
  <dnsmasq:options><dnsmasq:option value='cache-size=10'/></dnsmasq:options></network>`;

/** `name`: its definition is written to a file, whose path stands for \`@name\` in the session. */
const FILES: Readonly<Record<string, string>> = {
  full: FULL,
  bare: `<network><name>bare</name><bridge stp='off'/><mac address='52:54:00:00:00:02'/><dns enable='no'/></network>`,
  again: `<network><name>bare</name><uuid>${UUID}</uuid></network>`,
  used: "<network><name>used</name><bridge name='virbrx'/></network>",
  reversed:
    "<network><name>r</name><ip address='10.1.0.1' netmask='255.255.255.0'><dhcp><range start='10.1.0.9' end='10.1.0.2'/></dhcp></ip></network>",
  pool: "<network><name>pool</name><forward mode='passthrough'><interface dev='lo'/></forward></network>",
  foreign:
    "<network><name>foreign</name><forward mode='bridge'/><bridge name='br0' macTableManager='kernel'/></network>",
  port: "<networkport><uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid><owner><name>g</name><uuid>09b11c53-8b5c-4eeb-8f00-d84eaa0aaa3a</uuid></owner><mac address='52:54:00:7b:35:93'/><port isolated='yes'/></networkport>",
};

const SESSION: readonly string[] = [
  'net-list --all',
  'net-define @full',
  'net-dumpxml full',
  'net-define @bare',
  'net-dumpxml bare',
  'net-define @again',
  'net-define @used',
  'net-define @reversed',
  'net-define @pool',
  'net-dumpxml pool',
  'net-define @foreign',
  'net-dumpxml foreign',
  'net-list --all --name',
  'net-info full',
  'net-start full',
  'net-start full',
  'net-info full',
  'net-dumpxml full',
  'net-dhcp-leases full',
  `net-uuid full`,
  `net-name ${UUID}`,
  "net-update full add-last ip-dhcp-host \"<host mac='52:54:00:00:00:01' name='one' ip='192.168.50.11'/>\" --live --config",
  "net-update full add-last ip-dhcp-host \"<host mac='52:54:00:00:00:01' ip='192.168.50.12'/>\" --live",
  "net-update full modify ip-dhcp-host \"<host mac='52:54:00:00:00:01' name='one' ip='192.168.50.13'/>\" --live",
  'net-update full delete ip-dhcp-host "<host mac=\'52:54:00:00:00:99\'/>" --live',
  "net-update full modify ip-dhcp-range \"<range start='192.168.50.50' end='192.168.50.100'/>\" --live",
  "net-update full add-first ip-dhcp-range \"<range start='192.168.50.120' end='192.168.50.130'/>\" --live",
  "net-update full delete ip-dhcp-range \"<range start='192.168.50.60' end='192.168.50.61'/>\" --live",
  'net-update full add dns-host "<host ip=\'192.168.50.20\'><hostname>b</hostname></host>" --config',
  'net-update full add dns-host "<host ip=\'192.168.50.20\'><hostname>b</hostname></host>" --config',
  'net-update full delete dns-txt "<txt name=\'n\'/>" --config',
  "net-update full add dns-srv \"<srv service='t' protocol='udp'/>\" --config",
  'net-update full add portgroup "<portgroup name=\'g\'/>" --config',
  'net-update full delete portgroup "<portgroup name=\'none\'/>" --config',
  'net-update full add bridge "<bridge/>" --live',
  'net-update full add forward-interface "<interface dev=\'lo\'/>" --config',
  'net-dumpxml full',
  'net-dumpxml full --inactive',
  'net-autostart full',
  'net-list --all --autostart --name',
  'net-autostart full --disable',
  'net-start bare',
  'net-port-list bare',
  'net-port-create bare @port',
  'net-port-create bare @port',
  'net-port-list bare',
  'net-port-dumpxml bare 5d744f21-ba4a-4d6e-bdb2-30a35ff3207d',
  'net-dumpxml bare',
  'net-port-delete bare 5d744f21-ba4a-4d6e-bdb2-30a35ff3207d',
  'net-port-delete bare 5d744f21-ba4a-4d6e-bdb2-30a35ff3207d',
  'net-undefine bare',
  'net-list --all',
  'net-autostart bare',
  'net-destroy bare',
  'net-info bare',
  'net-port-list full',
  'net-destroy full',
  'net-destroy full',
  'net-update full delete ip-dhcp-host "<host mac=\'52:54:00:00:00:01\'/>" --live',
  'net-start pool',
  'net-dumpxml pool',
  'net-destroy pool',
  'net-undefine pool',
  'net-undefine foreign',
  'net-undefine full',
  'net-list --all',
];

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-virsh-net-'));
  for (const [name, xml] of Object.entries(FILES)) writeFileSync(join(dir, `${name}.xml`), xml);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** All commands in one virsh, with what it prints on both outputs in order. */
async function session(uri: string, commands: readonly string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const command of commands) {
    const line = command.replace(/@(\w+)/g, (_, name: string) => join(dir, `${name}.xml`));
    const { stdout, stderr } = await promisify(execFile)('virsh', ['-c', uri, line], { encoding: 'utf8' }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    answers.push(`$ ${command}\n${(stdout + stderr).trim()}`.replaceAll(dir, 'DIR'));
  }
  return answers;
}

/** What is made up anew each time, and the words in which both say the same. */
function comparable(answers: readonly string[]): string[] {
  return answers.map((answer) =>
    answer
      .replace(/(<uuid>|UUID: +)[0-9a-f-]{36}/g, '$1UUID')
      .replace("name='(null)'", "name=''")
      // libvirt says it twice over.
      .replace(/(?:network port )?(Network port with UUID \S+ already exists)(?: exists already)?/, '$1')
      .replace(/error: (?:XML error|internal error|unsupported configuration): .*/, 'error: (refused)'),
  );
}

const SHARED =
  "<network><name>shares</name><bridge name='virbrs'/><bandwidth><inbound average='1000'/></bandwidth><ip address='192.168.51.1' netmask='255.255.255.0'/></network>";
const PORT =
  "<networkport><uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207e</uuid><owner><name>g</name><uuid>09b11c53-8b5c-4eeb-8f00-d84eaa0aaa3a</uuid></owner><mac address='52:54:00:7b:35:94'/></networkport>";

/** What a port's parameters are after each change, or the code of the refusal. */
async function limitPort(uri: string): Promise<unknown[]> {
  await using connection = await connect(uri);
  const { networks } = connection;
  const seen: unknown[] = [];
  // Without limits of its own: libvirt's need a queue (sfq) that not every kernel has.
  const { uuid } = await networks.createXml(SHARED.replace(/<bandwidth>.*<.bandwidth>/, ''));
  try {
    const port = await networks.createPort(uuid, PORT);
    for (const change of CHANGES) {
      const refusal = await networks.setPortParameters(port, change).then(() => 'done', codeOf);
      // Of a port without limits, libvirt prints an empty element.
      const described = /<bandwidth>\s*<\w[^]*<.bandwidth>/.exec(await networks.portXmlDesc(port))?.[0];
      seen.push([change, refusal, await networks.portParameters(port), described]);
    }
    await networks.deletePort(port);
    seen.push(await networks.portParameters(port).catch(codeOf));
  } finally {
    await networks.destroy(uuid);
  }
  return seen;
}

const CHANGES: readonly TypedParameters[] = [
  { 'inbound.average': 100, 'inbound.burst': 20, 'outbound.average': 70, 'outbound.peak': 90 },
  { 'outbound.average': 0 },
  { 'inbound.floor': 300 },
  { 'inbound.floor': 0, 'inbound.peak': 500 },
  { 'inbound.average': 0 },
];

function codeOf(error: unknown): unknown {
  return error instanceof VirtError ? error.code : error;
}

/** A network namespace that lasts until its holder ends, and the command in it. */
async function ownHost(): Promise<{ cli: string; holder: ChildProcess }> {
  const holder = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo ready; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (holder.stdout !== null) await once(holder.stdout, 'data');
  const cli = join(dir, `cli-${holder.pid}`);
  writeFileSync(cli, `#!/bin/sh\nexec nsenter --net=/proc/${holder.pid}/ns/net ${CLI} "$@"\n`);
  chmodSync(cli, 0o755);
  return { cli, holder };
}

describe.skipIf(!isPossible)('virsh and networks', () => {
  let host: Awaited<ReturnType<typeof ownHost>>;
  let daemon: TestDaemon;
  beforeAll(async () => {
    host = await ownHost();
    daemon = await startDaemon([], { cli: host.cli });
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    host.holder.kill('SIGKILL');
  });

  it.skipIf(!hasLibvirtd())('prints with our daemon what it prints with libvirtd', { timeout: 120_000 }, async () => {
    // libvirtd has only what its packages bring.
    await session(daemon.uri, ['net-undefine default']);
    let libvirtd: Libvirtd | undefined;
    try {
      libvirtd = await startLibvirtd('', { ownNetwork: true });
      const theirs = comparable(await session(libvirtd.uri, SESSION));
      const ours = comparable(await session(daemon.uri, SESSION));
      expect(ours).toEqual(theirs);
    } finally {
      await libvirtd?.[Symbol.asyncDispose]();
    }
  });

  it.skipIf(!hasLibvirtd())('sets the limits of ports as libvirtd does', async () => {
    let libvirtd: Libvirtd | undefined;
    try {
      libvirtd = await startLibvirtd('', { ownNetwork: true });
      expect(await limitPort(daemon.uri)).toEqual(await limitPort(libvirtd.uri));
    } finally {
      await libvirtd?.[Symbol.asyncDispose]();
    }
  });

  it('keeps the share of a port on the bridge, also for the next daemon', async () => {
    const classes = (): string =>
      spawnSync('nsenter', ['-t', String(host.holder.pid), '-n', 'tc', 'class', 'show', 'dev', 'virbrs'], {
        encoding: 'utf8',
      }).stdout;
    await using connection = await connect(daemon.uri);
    const { networks } = connection;
    const { uuid } = await networks.createXml(SHARED);
    const port = await networks.createPort(uuid, PORT);
    const without = classes();
    await networks.setPortParameters(port, { 'inbound.floor': 300 });
    const kept = classes();
    expect(kept).toMatch(/class htb 1:3 .*rate 2400Kbit/);
    await expect(networks.setPortParameters(port, { 'inbound.floor': 2000 })).rejects.toThrow(/overcommit 'average'/);
    expect(classes()).toBe(kept);
    await networks.setPortParameters(port, { 'inbound.floor': 0 });
    expect(classes()).toBe(without);
    await networks.setPortParameters(port, { 'inbound.floor': 300 });
    await daemon.crash();
    await using next = await connect(daemon.uri);
    expect(await next.networks.portParameters(port)).toMatchObject({ 'inbound.floor': 300 });
    expect(classes()).toBe(kept);
    await next.networks.deletePort(port);
    expect(classes()).toBe(without);
    await next.networks.destroy(uuid);
  });

  it('keeps networks when the daemon is killed, and the next one stops them', async () => {
    const inHost = (...args: string[]): string =>
      spawnSync('nsenter', ['-t', String(host.holder.pid), '-n', ...args], { encoding: 'utf8' }).stdout;
    await session(daemon.uri, ['net-create @full', 'net-create @port']);
    const before = inHost('ip', '-br', 'link');
    expect(before).toContain('virbrx');
    await daemon.crash();
    const [list] = await session(daemon.uri, ['net-list --all']);
    expect(list).toMatch(/full\s+active\s+no\s+no/);
    expect(inHost('ip', '-br', 'link')).toBe(before);
    const [update] = await session(daemon.uri, [
      'net-update full add dns-host "<host ip=\'192.168.50.30\'><hostname>c</hostname></host>" --live',
    ]);
    expect(update).toContain('Updated network full live state');
    const [stopped] = await session(daemon.uri, ['net-destroy full']);
    expect(stopped).toContain('Network full destroyed');
    expect(inHost('ip', '-br', 'link')).not.toContain('virbrx');
    expect(inHost('nft', 'list', 'ruleset')).toBe('');
  });

  it('tells of a MAC address that two domains have', async () => {
    for (const name of ['first', 'second']) {
      const card =
        "<interface type='network'><mac address='52:54:00:00:00:77'/><source network='default'/></interface>";
      writeFileSync(
        join(dir, `${name}.xml`),
        `<domain type='qemu'><name>${name}</name><memory>32768</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>${card}</devices></domain>`,
      );
    }
    await session(daemon.uri, ['define @first', 'define @second']);
    const told = "MAC address 52:54:00:00:00:77 is also that of domain 'first'";
    expect(daemon.words()).toContain(`domain 'second': ${told}`);
    const [info] = await session(daemon.uri, ['dominfo second']);
    expect(info).toMatch(/Messages: .*52:54:00:00:00:77 is also that of domain 'first'/);
    await session(daemon.uri, ['undefine first']);
    const [after] = await session(daemon.uri, ['dominfo second', 'undefine second']);
    expect(after).not.toContain('Messages');
  });

  it('calls the scripts of networks as libvirt does, and they may refuse', async () => {
    const dir = join(daemon.stateDir, 'etc', 'hooks');
    const log = join(daemon.stateDir, 'hooks.log');
    mkdirSync(dir, { recursive: true });
    const script = (refused: string): void =>
      writeFileSync(
        join(dir, 'network'),
        `#!/bin/sh\necho "$@" >> ${log}\ncat > ${log}.$2\n[ "$2" != ${refused} ] || { echo not today >&2; exit 1; }\n`,
        { mode: 0o755 },
      );
    try {
      script('nothing');
      await session(daemon.uri, [
        'net-create @full',
        'net-update full add dns-host "<host ip=\'192.168.50.31\'><hostname>d</hostname></host>" --live',
        'net-destroy full',
      ]);
      expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual([
        'full start begin -',
        'full started begin -',
        'full updated begin -',
        'full stopped end -',
      ]);
      expect(readFileSync(`${log}.started`, 'utf8')).toMatch(
        /^<hookData>\n {2}<network[^]*<name>full<[^]*\n<\/hookData>\n$/,
      );
      for (const operation of ['start', 'started']) {
        script(operation);
        const [refused] = await session(daemon.uri, ['net-create @full']);
        expect(refused).toMatch(/not today/);
        const [list] = await session(daemon.uri, ['net-list --all --name']);
        expect(list).not.toContain('full');
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
