/** Run as a user without rights: embedded containers of that user, and what it is refused. Prints what it has seen. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { type Connection, connect, type Domain, VirtError } from '../../src/index.ts';
import { pollUntil } from '../support/poll.ts';
import { StreamText } from '../support/until.ts';

const [, , rootfs = '', shifted = '', rootId = '0', port = '0', foreign = ''] = process.argv;
/** Without the spaces in front of the numbers. */
const MAP = 'while read -r a b c; do echo $a $b $c; done </proc/self/uid_map';
/** A device that everybody may open. */
const DEVICE = '/dev/null';

interface Given {
  readonly line?: string;
  readonly devices?: string;
  readonly rest?: string;
  readonly os?: string;
  readonly root?: string;
  readonly arch?: string;
}

function xml(name: string, { line = 'exit 0', devices = '', rest = '', os = '', root = rootfs, arch = '' }: Given) {
  return `<domain type='lxc' xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><name>${name}</name><memory unit='MiB'>64</memory>${rest}
    <os><type${arch}>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg><![CDATA[${line}]]></initarg>${os}</os>
    <devices><filesystem type='mount'><source dir='${root}'/><target dir='/'/></filesystem>${devices}<console type='pty'/></devices></domain>`;
}

/** What it has printed, and its exit status; or why there is none. */
async function outcome(connection: Connection, given: Given): Promise<string> {
  try {
    const line = `stty -echo; echo attach; read -r go; (${given.line ?? 'true'}); echo "=$?="`;
    const domain = await connection.createDomain(xml('box', { ...given, line }));
    const stream = domain.console().stream();
    const text = new StreamText(stream);
    await text.until('attach');
    stream.write('go\n');
    await text.until(/=\d+=/);
    await domain.waitForStop();
    return text.text.replaceAll('\r\n', '\n').replace('attach\n', '').trim();
  } catch (error) {
    return error instanceof VirtError ? error.message : String(error);
  }
}

/** Of the container's second process, which is what its shell has started. */
async function life(domain: Domain): Promise<unknown> {
  const text = new StreamText(domain.console().stream());
  await text.until('begun');
  const child = /child (\d+)/.exec(text.text)?.[1] ?? '';
  const ps = String((await domain.exec(['ps', '-o', 'pid,stat,args'])).stdout);
  const pid = hostPid(child);
  const stateOf = (): string => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  await domain.suspend();
  const suspended = [(await domain.info()).state, stateOf()];
  await domain.resume();
  await pollUntil(() => stateOf() !== 'T', 'it stands still');
  const { status, stdout } = await domain.exec(['sh', '-c', 'id -u; exit 4']);
  await pollUntil(async () => (await domain.info()).cpuTimeNs > 0n, 'it has used no time');
  const memory = (await domain.info()).memoryKiB;
  await domain.shutdown();
  const stop = await domain.waitForStop();
  return {
    sees: ps.includes('sleep 1000'),
    suspended,
    exec: [status, String(stdout).trim()],
    memory: memory > 100 && memory < 64 * 1024,
    stop: [stop.detail, stop.exitStatus],
  };
}

/** The `sleep` whose number in its container that is. */
function hostPid(number: string): string | undefined {
  return readdirSync('/proc').find((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const isIt = readFileSync(`/proc/${name}/cmdline`, 'latin1').includes('sleep\u00001000');
      return isIt && new RegExp(`^NSpid:.*\\s${number}$`, 'm').test(readFileSync(`/proc/${name}/status`, 'utf8'));
    } catch {
      return false;
    }
  });
}

const refusals: Record<string, Given> = {
  image: { devices: "<filesystem type='file'><source file='/etc/passwd'/><target dir='/mnt'/></filesystem>" },
  block: { devices: `<filesystem type='block'><source dev='${DEVICE}'/><target dir='/mnt'/></filesystem>` },
  bridge: { devices: "<interface type='bridge'><source bridge='br0'/></interface>" },
  network: { devices: "<interface type='network'><source network='default'/></interface>" },
  direct: { devices: "<interface type='direct'><source dev='eth0'/></interface>" },
  net: { devices: "<hostdev mode='capabilities' type='net'><source><interface>eth0</interface></source></hostdev>" },
  limits: { rest: "<memtune><hard_limit unit='MiB'>32</hard_limit></memtune><cputune><shares>10</shares></cputune>" },
  ids: { rest: "<idmap><uid start='0' target='5000' count='10'/><gid start='0' target='5000' count='10'/></idmap>" },
  user: { os: '<inituser>1000</inituser>' },
};

await using connection = await connect('lxc:///embed');
const seen: Record<string, unknown> = {
  uid: process.getuid?.(),
  map: await outcome(connection, { line: `${MAP}; id -u; touch /tmp/made; exit 7` }),
  devices: await outcome(connection, {
    line: 'echo x >/dev/null && head -c 4 /dev/zero | wc -c; mknod /tmp/n c 1 3; [ -c /dev/given ] && echo given',
    devices: `<disk type='block'><source dev='${DEVICE}'/><target dev='given'/></disk>`,
  }),
  private: await outcome(connection, {
    line: 'ip addr show lo | grep -c 127.0.0.1; ls /sys/class/net; ls -d /sys/fs/cgroup',
    rest: '<features><privnet/></features>',
  }),
  shared: await outcome(connection, {
    line: 'cat /mnt/etc/hostname >/dev/null && touch /mnt/made 2>&1; exit 0',
    devices: "<filesystem type='bind'><source dir='/'/><target dir='/mnt'/><readonly/></filesystem>",
  }),
  terminals: await outcome(connection, { line: 'echo x >/dev/tty2 && echo written', devices: "<console type='pty'/>" }),
};
for (const [name, given] of Object.entries(refusals)) seen[`refused ${name}`] = await outcome(connection, given);
if (rootId !== '0') {
  const ids = `<idmap><uid start='0' target='${rootId}' count='1000'/><gid start='0' target='${rootId}' count='1000'/></idmap>`;
  const line = `id -u; ${MAP}; stat -c %u /bin; touch /tmp/made && stat -c %u /tmp/made`;
  seen['mapped'] = await outcome(connection, { line, rest: ids, root: shifted });
  seen['implied'] = await outcome(connection, { line, root: shifted });
  seen['mapped private'] = await outcome(connection, {
    line: 'id -u; ip addr show lo | grep -c 127.0.0.1',
    rest: `${ids}<features><privnet/></features>`,
    root: shifted,
  });
}
const domain = await connection.createDomain(
  xml('life', { line: 'trap "exit 5" TERM; sleep 1000 & echo child $!; echo begun; while :; do :; done' }),
);
seen['life'] = await life(domain);
if (foreign !== '') seen['foreign'] = await otherArchitecture(connection);
if (port !== '0') seen['network'] = await forwarded(connection);
await connection.close();
process.stdout.write(`${JSON.stringify(seen)}\n`);

async function otherArchitecture(own: Connection): Promise<unknown> {
  const guest = await own.createDomain(
    `<domain type='lxc'><name>foreign</name><memory unit='MiB'>64</memory><os><type arch='aarch64'>exe</type><init>/bin/first</init></os>
     <devices><filesystem type='mount'><source dir='${foreign}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>`,
  );
  const stream = guest.console().stream();
  await new StreamText(stream).until('aarch64');
  stream.write('\n');
  return (await guest.waitForStop()).exitStatus;
}

async function forwarded(own: Connection): Promise<unknown> {
  const guest = await own.createDomain(
    xml('net', {
      line: 'echo begun; while :; do ip -4 addr show dev up | grep -o "10.9.8.[0-9]*/24" | nc -l -p 80; done',
      devices: `<interface type='user'><mac address='52:54:00:11:22:33'/><ip address='10.9.8.7' prefix='24'/><guest dev='up'/>
        <portForward proto='tcp' address='127.0.0.1'><range start='${port}' to='80'/></portForward></interface>`,
    }),
  );
  let answer = '';
  await pollUntil(async () => (answer = await ask()) !== '', 'nobody answers');
  await guest.destroy();
  return [answer.trim(), await ask()];
}

async function ask(): Promise<string> {
  return await new Promise((resolve) => {
    let answer = '';
    const socket = connectTcp(Number(port), '127.0.0.1');
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}
