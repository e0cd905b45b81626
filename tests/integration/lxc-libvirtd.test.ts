/**
 * Containers beside libvirt's own driver: our daemon and Debian's libvirtd are given the same definitions and asked the same through the same client. Each
 * difference that is meant is named with its reason; one that is not there any more fails too.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DisposalStack } from '../../src/core/dispose.ts';
import { type Connection, connect, ErrorCode, VirtError } from '../../src/index.ts';
import { CONFIGURATIONS } from '../conformance/lxc-configurations.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { COMPARED, hasLibvirtLxc, type LibvirtLxc, startLibvirtLxc } from '../support/libvirt-lxc.ts';
import { pollUntil } from '../support/poll.ts';
import { containerOf, DEFINITIONS } from './lxc-definitions.ts';
import { bring, OPERATIONS, STATES, type State } from './lxc-states.ts';

const canCompare = hasLibvirtLxc() && canRunContainers();

const LENIENT = 'libvirt refuses it; here it has a meaning';
const KEPT = 'what has no meaning for a container is kept, and told of, not dropped';
const DIFFERENT_DEFINITIONS: Readonly<Record<string, string>> = {
  'as little as there can be': `${LENIENT}: /sbin/init`,
  'an argument of nothing': LENIENT,
  'a variable of nothing': LENIENT,
  'a variable with markup': 'libvirt writes it without escaping it, which is no XML',
  'another architecture': `${LENIENT}: it is emulated`,
  'graphics of a machine': 'libvirt misses a video card; ours is refused when it is started',
  'kernel of a machine': KEPT,
  'boot of a machine': KEPT,
  'unknown elements': KEPT,
  'name of nothing': 'ours is a fault of the document (XML_ERROR) like others, with its line',
};

const UNSAID = 'libvirt gives up without saying why; here the line is told, or read';
const DIFFERENT_CONFIGURATIONS: Readonly<Record<string, string>> = {
  'no name': `${UNSAID}: the container is called as its folder is`,
  'no root': UNSAID,
  'root by kind': 'libvirt takes the kind for a part of the path',
  'architecture of another kind': 'emulated here',
  'program to begin with': 'libvirt reads no lxc.init.cmd',
  'capabilities without which it is, in lines': 'libvirt reads one line of a key',
  'capabilities that it keeps': 'libvirt leaves it all capabilities',
  'users that are others': "LXC's order; what libvirt makes of it does not start",
  'users that are others, old': 'as above',
  mounts: 'LXC mounts below its root also where the path begins with that',
  'mounts in memory': 'sizes are halves of the memory, which no definition can say: 64 MiB, and a note',
  'mounts with blanks': 'fstab(5) writes blanks as octal numbers',
  'network of its own': "LXC gives it a network with a loopback alone, libvirt the host's",
  'network of its own, old': 'as above',
  'pair on a bridge': `${UNSAID}: veth.pair`,
  'pair on a bridge, old': `${UNSAID}: mtu`,
  'addresses and gateways': 'LXC takes a broadcast address behind it',
  'addresses by themselves': 'LXC finds the gateway itself, which is told',
  'a network of an unknown kind': "libvirt makes it one of type 'user', which it does not start",
  'macvlan without a link': UNSAID,
  'memory that is none': 'as of all that cannot be read: CONFIG_UNSUPPORTED with its line',
  'users that are none': UNSAID,
};

/** Asked of a container that runs. Each is another answer, or another refusal, with its words. */
const VIRSH_LINES =
  `list --all|version --daemon|domid NAME|domuuid NAME|domname NAME|domstate NAME --reason|dominfo NAME|dommemstat NAME|domiflist NAME|domblklist NAME
domif-getlink NAME besideB|domif-setlink NAME besideB down|domifstat NAME besideB|domifstat NAME nowhere|domifaddr NAME|domiftune NAME besideB|domblkstat NAME|domblkstat NAME vda
domblkinfo NAME vda|domblkerror NAME|schedinfo NAME|schedinfo NAME --set cpu_shares=300|schedinfo NAME --set nonsense=1|memtune NAME|memtune NAME --hard-limit 60000
memtune NAME --hard-limit 50000 --swap-hard-limit 40000|setmem NAME 60000|setmem NAME 70000|setmaxmem NAME 70000|numatune NAME|vcpuinfo NAME|vcpucount NAME|vcpupin NAME|setvcpus NAME 1
emulatorpin NAME|iothreadinfo NAME|cpu-stats NAME|domstats NAME|domcontrol NAME|domdisplay NAME|vncdisplay NAME|ttyconsole NAME|domjobinfo NAME|domjobabort NAME|domhostname NAME
domtime NAME|domfsinfo NAME|domfsfreeze NAME|domfstrim NAME|guestinfo NAME|guestvcpus NAME|get-user-sshkeys NAME root|set-user-password NAME root x|screenshot NAME|send-key NAME KEY_A
inject-nmi NAME|reset NAME|perf NAME|domlaunchsecinfo NAME|domdirtyrate-calc NAME|migrate-getspeed NAME|migrate-compcache NAME|snapshot-list NAME|snapshot-create NAME|snapshot-current NAME
checkpoint-list NAME|backup-dumpxml NAME|blockcopy NAME vda /x|blockjob NAME vda|blockresize NAME vda 1G|managedsave NAME|managedsave-dumpxml NAME|save NAME /nowhere/x|restore /nowhere/x
dump NAME /nowhere/x|desc NAME|desc NAME --title|metadata NAME urn:x|autostart NAME|autostart NAME --disable|dompmsuspend NAME mem|dompmwakeup NAME|start NAME|resume NAME
shutdown NAME --mode agent|reboot NAME --mode agent|qemu-monitor-command NAME info|qemu-agent-command NAME x|domcapabilities|maxvcpus|cpu-models x86_64|sysinfo|nodeinfo
domxml-from-native qemu-argv /dev/null|domxml-to-native lxc-tools NAME|snapshot-create-as NAME x|domstate nowhere|destroy nowhere`
    .split(/[|\n]/)
    .map((line) => line.trim());

const MORE = 'libvirt has no answer; ours has';
const DIFFERENT_WORDS: Readonly<Record<string, string>> = {
  'version --daemon': 'ours is another version',
  'dommemstat NAME': "libvirt tells the memory in use as what was swapped in; ours the kernel's faults",
  'domstats NAME': MORE,
  'domcontrol NAME': MORE,
  'vcpucount NAME': MORE,
  'vcpupin NAME': MORE,
  'ttyconsole NAME': 'consoles are no terminals of the host',
  'setvcpus NAME 1': 'what cannot be done is called by the name of the call that can do more',
  'reboot NAME --mode agent': 'libvirt knows no such flag, ours what it means',
  'shutdown NAME --mode agent': 'as above',
};

/** Without what is another number each time. */
function plainWords(text: string): string {
  return text
    .replace(/^\d+$/m, 'N')
    .replace(/(Id: +)\d+/, '$1N')
    .replace(/^ \d+ /gm, ' N ')
    .replace(/(CPU time: +)[\d.]+s/, '$1N')
    .replace(/(Used memory: +)\d+/, '$1N')
    .replace(/( (?:rx|tx|rd|wr)_\w+) \d+/g, '$1 N')
    .replace(/(\w+_time +)[\d.]+/g, '$1N')
    .replace(/^(\w+) \d+$/gm, '$1 N')
    .replace(/--+/g, '--')
    .replace(/ +/g, ' ');
}

/** Between the answers of virsh. */
const MARK = '@@';

/** Of a refusal what virsh calls its code, and of calls that are not there their name; how it is put is each driver's own. */
function wordsOf(text: string): string {
  const last = text.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('error: ')) return plainWords(text);
  return last.includes('not supported by the connection driver') ? last : (/^error: [^:]*/.exec(last)?.[0] ?? last);
}

/** What libvirtd 9.0 does not survive, or answers now so and now otherwise: neither is asked. */
const NOT_ASKED: Readonly<Record<string, string>> = {
  'schedulerParameters live, defined': 'libvirtd ends with a fault',
  'attach live, paused': 'libvirtd sometimes finds the node there already',
  'detach live, paused': 'as above',
};

const NOT_THERE = 'a device that is not there is DEVICE_MISSING, of whatever kind it is';
const NOTHING_SAVED = 'there is nothing to remove, as of a virtual machine that was not saved';
/** How often what is not as expected is asked again. */
const TRIES = 3;
const DIFFERENT_STATES: Readonly<Record<string, string>> = {
  'detach config, defined': NOT_THERE,
  'detach config, running': NOT_THERE,
  'detach config, paused': NOT_THERE,
  'removeManagedSave, defined': NOTHING_SAVED,
  'removeManagedSave, running': NOTHING_SAVED,
  'removeManagedSave, paused': NOTHING_SAVED,
  'removeManagedSave, gone': 'ours looks for the domain first',
  'securityLabels, gone': 'libvirt answers of a domain that there is not',
  'vcpus, gone': 'ours looks for the domain first',
};

// What the other daemon does in time is not ours to say: a comparison that fails is made once more.
describe.skipIf(!canCompare)('beside libvirtd', { retry: 1 }, () => {
  let folder = '';
  let rootfs = '';
  let daemon: TestDaemon;
  let libvirtd: LibvirtLxc;
  let ours: Connection;
  let theirs: Connection;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-lxcl-'));
    rootfs = makeBusyboxRoot(folder);
    [daemon, libvirtd] = await Promise.all([startDaemon(), startLibvirtLxc()]);
    [ours, theirs] = await Promise.all([connect(daemon.uri.replace(/^qemu/, 'lxc')), connect(libvirtd.uri)]);
  });

  afterAll(async () => {
    // Each is ended whatever becomes of the others.
    await using ending = new DisposalStack();
    ending.defer(() => rmSync(folder, { recursive: true, force: true }));
    for (const owner of [daemon, libvirtd]) ending.defer(async () => await owner[Symbol.asyncDispose]());
    for (const connection of [ours, theirs]) {
      ending.defer(async () => await connection.close());
      ending.defer(async () => {
        for (const domain of await connection.listAllDomains({ active: true })) await domain.destroy();
      });
    }
  });

  /** Asks both. `differences`: names of those that are meant. */
  async function compare(
    names: readonly string[],
    ask: (connection: Connection, name: string) => Promise<string>,
    differences: Readonly<Record<string, string>>,
  ): Promise<void> {
    const found: Record<string, { ours: string; theirs: string }> = {};
    for (const name of names) {
      const [mine, other] = await Promise.all([ask(ours, name), ask(theirs, name)]);
      if (mine !== other) found[name] = { ours: mine, theirs: other };
    }
    expect(Object.fromEntries(Object.entries(found).filter(([name]) => !(name in differences)))).toEqual({});
    expect(Object.keys(differences).filter((name) => !(name in found))).toEqual([]);
  }

  it('keeps the same of each definition', async () => {
    const define = async (connection: Connection, name: string): Promise<string> =>
      await answerOf(async () => {
        const domain = await connection.defineDomain(containerOf(DEFINITIONS[name]));
        const kept = await domain.xmlDesc({ inactive: true });
        await domain.undefine();
        return kept;
      });
    await compare(Object.keys(DEFINITIONS), define, DIFFERENT_DEFINITIONS);
  });

  it("makes the same definition of each configuration of LXC's tools", async () => {
    const convert = async (connection: Connection, name: string): Promise<string> =>
      await answerOf(async () => {
        const { xml } = await connection.domainXMLFromNative('lxc-tools', CONFIGURATIONS[name] ?? '');
        // Chance, and what could not be expressed.
        return xml
          .replace(/^<!--.*-->\n/gm, '')
          .replace(/<uuid>.*<\/uuid>/, '')
          .replace(/<mac address='(?!02:)[^']*'/g, '');
      });
    await compare(Object.keys(CONFIGURATIONS), convert, DIFFERENT_CONFIGURATIONS);
  });

  it('allows and refuses the same in each state, code for code', async () => {
    const xml = containerOf({
      name: `${COMPARED}states`,
      os: "<type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>trap '' TERM HUP; while :; do sleep 1; done</initarg>",
      root: `<filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>`,
    });
    const answerIn = async (connection: Connection, name: string, state: State): Promise<string> =>
      await answerOf(async () => {
        const domain = await bring(connection, xml, state);
        await OPERATIONS[name]?.(domain);
        return 'ok';
      });
    const asked = STATES.flatMap((state) =>
      Object.keys(OPERATIONS).flatMap((name) => {
        const key = `${name}, ${state}`;
        return key in NOT_ASKED ? [] : [{ key, name, state }];
      }),
    );
    // Not at once: libvirtd's names of interfaces and groups are the host's.
    const answers = new Map<Connection, Map<string, string>>();
    for (const connection of [ours, theirs]) {
      const table = new Map<string, string>();
      for (const { key, name, state } of asked) table.set(key, await answerIn(connection, name, state));
      answers.set(connection, table);
    }
    // What is asked in an unlucky moment (something of the last container is still there) is asked again.
    for (let again = 0; again < TRIES; again++) {
      for (const { key, name, state } of asked) {
        const isEqual = answers.get(ours)?.get(key) === answers.get(theirs)?.get(key);
        if (isEqual !== key in DIFFERENT_STATES) continue;
        for (const connection of [ours, theirs]) {
          answers.get(connection)?.set(key, await answerIn(connection, name, state));
          await (await bring(connection, xml, 'defined')).undefine();
        }
      }
    }
    for (const connection of [ours, theirs]) await (await bring(connection, xml, 'defined')).undefine();
    const ask = async (connection: Connection, key: string): Promise<string> => answers.get(connection)?.get(key) ?? '';
    await compare(
      asked.map(({ key }) => key),
      ask,
      DIFFERENT_STATES,
    );
  });

  /** The same with each, one after the other: names of interfaces are the host's. */
  async function inTurn<T>(use: (connection: Connection) => Promise<T>): Promise<[ours: T, theirs: T]> {
    const mine = await use(ours);
    // The kernel takes a container's interfaces away a moment after its last process.
    const isLeft = (): boolean => readdirSync('/sys/class/net').some((name) => name.startsWith('beside'));
    await pollUntil(() => !isLeft(), 'interfaces of a container that has ended are still there');
    return [mine, await use(theirs)];
  }

  const inner = (): string => `<filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>`;
  const WAITS =
    '<type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>while :; do sleep 0.1; done</initarg>';

  it('tells the same of this host', async () => {
    const [mine, other] = await inTurn(async (connection) => await connection.capabilities());
    const guests = / *<guest>[\s\S]*?<\/guest>\n/g;
    const theirGuests = other.match(guests)?.join('') ?? '';
    const isTheirs = (guest: string): boolean => theirGuests.includes(/<arch name='[^']*'/.exec(guest)?.[0] ?? '-');
    // Containers of emulated architectures are ours alone; a host without a UUID gets one by chance; blank lines are virsh's to like.
    const shared = mine.replace(guests, (guest) => (isTheirs(guest) ? guest : ''));
    const plain = (xml: string): string => xml.replace(/<uuid>.*<\/uuid>/, '').replace(/\n\s*\n/g, '\n');
    expect(plain(shared)).toBe(plain(other));
    expect(theirGuests).toContain("<domain type='lxc'/>");
    const facts = async (connection: Connection): Promise<unknown> => ({
      type: connection.type,
      version: await connection.version(),
      securityModel: await connection.node.securityModel(),
    });
    const [ourFacts, theirFacts] = await inTurn(facts);
    expect(ourFacts).toEqual(theirFacts);
  });

  it('shows the same of a container that runs', async () => {
    const xml = containerOf({
      name: `${COMPARED}live`,
      head: "<memory unit='MiB'>64</memory><vcpu cpuset='0'>1</vcpu><cputune><shares>512</shares><period>50000</period><quota>25000</quota></cputune>",
      os: WAITS,
      rest: '<features><privnet/></features>',
      root: inner(),
      devices: `<filesystem type='ram'><source usage='1' units='MiB'/><target dir='/tmp'/></filesystem>
        <interface type='ethernet'><mac address='00:16:3e:12:34:56'/><guest dev='eth7'/><ip address='192.0.2.5' family='ipv4' prefix='24'/></interface>
        <interface type='ethernet'><mac address='00:16:3e:12:34:57'/><target dev='besideA'/><link state='up'/></interface>
        <hostdev mode='capabilities' type='misc'><source><char>/dev/kmsg</char></source></hostdev><console type='pty'/>`,
    });
    const shown = async (connection: Connection): Promise<[live: string, kept: string]> => {
      const domain = await connection.defineDomain(xml);
      await domain.create();
      const texts: [string, string] = [await domain.xmlDesc(), await domain.xmlDesc({ inactive: true })];
      await domain.destroy();
      await domain.undefine();
      return texts;
    };
    const [mine, other] = await inTurn(shown);
    expect(mine.map(withoutDifferences)).toEqual(other.map(withoutDifferences));
    // What is meant to differ does.
    expect(other[0]).toContain('<partition>/machine</partition>');
    expect(other[0]).toMatch(/<console type='pty' tty='/);
    expect(mine[0]).toContain("<alias name='net1'/>");
  });

  it('answers virsh alike', async () => {
    const name = `${COMPARED}virsh`;
    const xml = containerOf({
      name,
      head: "<memory unit='MiB'>64</memory><cputune><shares>512</shares></cputune>",
      os: WAITS,
      root: inner(),
      devices: "<interface type='ethernet'><mac address='00:16:3e:12:34:58'/><target dev='besideB'/></interface>",
    });
    const said = async (connection: Connection): Promise<Record<string, string>> => {
      const uri = connection === ours ? daemon.uri.replace(/^qemu/, 'lxc') : libvirtd.uri;
      const domain = await connection.defineDomain(xml);
      await domain.create();
      // One virsh for all of them: a process each takes longer than their answers.
      const script = VIRSH_LINES.map((line) => `echo ${MARK}; ${line.replaceAll('NAME', name)}`).join('; ');
      const { stdout } = spawnSync('sh', ['-c', 'exec virsh -c "$0" "$1" 2>&1', uri, script], { encoding: 'utf8' });
      const texts = stdout.split(`${MARK}\n`).slice(1);
      const answers = VIRSH_LINES.map((line, index) => [line, wordsOf(texts[index] ?? 'no answer')] as const);
      await domain.destroy();
      await domain.undefine();
      return Object.fromEntries(answers);
    };
    const [mine, other] = await inTurn(said);
    await compare(
      VIRSH_LINES,
      async (connection, line) => (connection === ours ? mine : other)[line] ?? '',
      DIFFERENT_WORDS,
    );
  });

  it('tells the same events in the same order', async () => {
    const told = async (connection: Connection): Promise<string[]> => {
      const stop = new AbortController();
      const name = `${COMPARED}events`;
      const seen: string[] = [];
      const listening = (async () => {
        for await (const event of connection.events({ signal: stop.signal })) {
          if (event.domain.name !== name) continue;
          seen.push(event.event === 'lifecycle' ? `${event.type} ${event.detail}` : event.event);
        }
      })();
      const persistent = { name, os: WAITS, root: inner() };
      const domain = await connection.defineDomain(containerOf(persistent));
      await domain.create();
      await domain.suspend();
      await domain.resume();
      await domain.destroy();
      await connection.defineDomain(containerOf({ ...persistent, head: "<memory unit='MiB'>65</memory>" }));
      await domain.undefine();
      const ends = {
        name,
        // libvirtd does not notice all that end before it has let them go on.
        os: '<type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>sleep 1</initarg>',
        root: inner(),
      };
      await connection.createDomain(containerOf(ends));
      await pollUntil(
        () => seen.at(-1)?.startsWith('stopped') === true && seen.length > 6,
        () => `no end: ${seen.join(', ')}`,
      );
      stop.abort();
      await listening.catch(() => {});
      return seen;
    };
    const [mine, other] = await inTurn(told);
    // libvirtd tells an end twice where it notices it by itself before its destroying is through.
    const isTwice = (event: string, index: number): boolean =>
      event === 'stopped failed' && other[index + 1] === 'stopped destroyed';
    expect(mine).toEqual(other.filter((event, index) => !isTwice(event, index)));
  });
});

/**
 * Of the live definition: its number, and what is meant to differ. Groups lie below the daemon's where lxc.conf does not say otherwise, so that there is no
 * partition to tell. A console is the daemon's or conmon's, and no terminal of the host's that somebody else could open. All devices have aliases, which their events
 * name.
 */
function withoutDifferences(xml: string): string {
  return xml
    .replace(/ id='\d+'/, '')
    .replace(/'vnet\d+'/g, "'vnetN'")
    .replace(/ *<resource>[\s\S]*?<\/resource>\n/, '')
    .replace(/ tty='[^']*'/g, '')
    .replace(/ *<source path='\/dev\/pts\/\d+'\/>\n/g, '')
    .replace(/ *<alias name='(fs|net|hostdev)\d+'\/>\n/g, '');
}

async function answerOf(call: () => Promise<string>): Promise<string> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    return Object.entries(ErrorCode).find(([, code]) => code === error.code)?.[0] ?? String(error.code);
  }
}
