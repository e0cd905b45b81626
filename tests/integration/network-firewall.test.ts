/**
 * Who reaches whom through the firewall of a network, with real packets: namespaces stand for guests, the host and the outside. All firewalls that this
 * kernel has must give the same answers.
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { bundleScript } from '../support/bundle.ts';

/** What a network's rules are made with: nft, or the iptables of one family. */
const BACKENDS = ['nft', 'iptables-legacy', 'iptables-nft'] as const;
type Backend = (typeof BACKENDS)[number];
const NEEDED = ['unshare', 'nsenter', 'ip', 'busybox', 'nft', 'iptables-legacy', 'iptables-nft'];

function works(backend: Backend): boolean {
  const command = backend === 'nft' ? ['nft', 'list', 'ruleset'] : [backend, '-t', 'nat', '-L', '-n'];
  return spawnSync('unshare', ['-n', ...command]).status === 0;
}

const missing = NEEDED.filter((name) => lookUpProgram(name) === undefined);
const refused = BACKENDS.filter((backend) => !works(backend));
const isPossible = missing.length === 0 && refused.length === 0;
if (!isPossible) {
  process.stderr.write(`SKIPPED: firewalls of networks need root and ${[...missing, ...refused].join(', ')}\n`);
}

let script: string;
let dir: string;
beforeAll(async () => {
  script = await bundleScript(fileURLToPath(new URL('network-firewall-program.ts', import.meta.url)));
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-firewall-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

type Seen = Record<string, string>;

async function run<T>(what: string, backend: Backend, more = ''): Promise<T & { notes: string[] }> {
  const bin = join(dir, 'bin');
  const ledger = join(dir, 'ledger');
  mkdirSync(bin);
  mkdirSync(ledger, { mode: 0o700 });
  if (backend !== 'nft') symlinkSync(lookUpProgram(backend) ?? '', join(bin, 'iptables'));
  const args = ['-n', process.execPath, script, what, ledger, backend === 'nft' ? 'nft' : 'iptables', more];
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` };
  const { stdout } = await promisify(execFile)('unshare', args, { encoding: 'utf8', env });
  return JSON.parse(stdout) as T & { notes: string[] };
}

const HOST = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
const GUEST = { 4: '192.168.100.10', 6: 'fd00:100::10' } as const;
const OUTSIDE = { 4: '192.0.2.2', 6: '2001:db8::2' } as const;

/** How a guest is seen outside, and somebody outside by a guest, for each mode and family. */
const MODES: Readonly<Record<string, readonly [4 | 6, string, string][]>> = {
  nat: [
    [4, HOST[4], 'refused'],
    [6, HOST[6], 'refused'],
  ],
  'nat, IPv6 routed': [
    [4, HOST[4], 'refused'],
    [6, GUEST[6], OUTSIDE[6]],
  ],
  'nat, by an interface': [
    [4, HOST[4], 'refused'],
    [6, HOST[6], 'refused'],
  ],
  'nat, by another interface': [
    [4, 'refused', 'refused'],
    [6, 'refused', 'refused'],
  ],
  route: [
    [4, GUEST[4], OUTSIDE[4]],
    [6, GUEST[6], OUTSIDE[6]],
  ],
  isolated: [
    [4, 'refused', 'refused'],
    [6, 'refused', 'refused'],
  ],
  open: [
    [4, GUEST[4], OUTSIDE[4]],
    [6, GUEST[6], OUTSIDE[6]],
  ],
};

/** What is to be seen with every mode, and what the mode decides. The other network, `two`, masquerades. */
function expectedOf(mode: string): Seen {
  const expected: Seen = { 'g2 ping4 g1': 'answered', 'h1 ping4 host': 'answered' };
  for (const [family, out, into] of MODES[mode] ?? []) {
    for (const protocol of ['tcp', 'udp']) {
      expected[`g1 ${protocol}${family} outside`] = out;
      expected[`outside ${protocol}${family} g1`] = into;
    }
    expected[`${family === 4 ? 'g1' : 'g2'} ping${family} outside`] = out === 'refused' ? 'refused' : 'answered';
    expected[`g1 tcp${family} g2`] = GUEST[family];
    expected[`g1 tcp${family} host`] = GUEST[family];
    expected[`host tcp${family} g1`] = family === 4 ? '192.168.100.1' : 'fd00:100::1';
    // Nobody gets into the other network; its guests get out, and in where anybody does.
    expected[`g1 tcp${family} h1`] = 'refused';
    const gateway = family === 4 ? '192.168.100.1' : 'fd00:100::1';
    expected[`h1 tcp${family} g1`] = into === 'refused' ? 'refused' : gateway;
  }
  return expected;
}

describe.skipIf(!isPossible).each(BACKENDS)('firewall of a network, with %s', (backend) => {
  it('lets through, masquerades and refuses as each forward mode says, for two networks side by side', async () => {
    const { seen, left, notes } = await run<{ seen: Record<string, Seen>; left: boolean }>('modes', backend);
    expect(seen).toEqual(Object.fromEntries(Object.keys(MODES).map((mode) => [mode, expectedOf(mode)])));
    expect({ left, notes }).toEqual({ left: true, notes: [] });
  }, 60_000);

  it('forwards ports: from outside, the host, another network, a neighbour and the guest itself', async () => {
    const modes = backend === 'nft' ? ['nat', 'route', 'isolated', 'open'] : ['nat', 'isolated'];
    const { seen, left } = await run<{ seen: Record<string, Record<string, Seen>>; left: boolean }>(
      'forwards',
      backend,
      modes.join(','),
    );
    expect(seen).toEqual(Object.fromEntries(modes.map((mode) => [mode, forwardsSeen(mode)])));
    expect(left).toBe(true);
  }, 60_000);

  it('keeps guests away from the loopback addresses that forwards open to the bridge', async () => {
    expect(await run('guard', backend)).toEqual({
      unguarded: '192.168.100.11',
      guarded: 'silence',
      other: '192.168.100.1',
      notes: [],
    });
  }, 60_000);

  it('is made again when somebody flushed it, and removed by the collector when its owner was killed', async () => {
    const seen = await run<{ removed: string[]; failed: string[] }>('ends', backend);
    expect(seen).toMatchObject({
      flushed: { untouched: false, missed: true, same: true },
      signal: 'SIGKILL',
      left: true,
      failed: [],
      after: true,
    });
    expect(seen.removed).toHaveLength(2);
  }, 60_000);

  const others = ['iptables-legacy,iptables-nft', ...(backend === 'nft' ? ['iptables-legacy', 'iptables-nft'] : [])];
  it.each(others)(
    'works where rules made with %s refuse everything, and leaves those alone',
    async (others) => {
      const { without, seen, left, notes } = await run<{ without: Seen; seen: Seen; left: boolean }>(
        'amongOthers',
        backend,
        others,
      );
      expect(without).toEqual({ 'g1 tcp4 outside': 'silence' });
      expect(seen).toEqual({
        'g1 tcp4 outside': HOST[4],
        'g1 udp6 outside': HOST[6],
        'outside tcp4 g1': expect.stringMatching(/refused|silence/),
        'g1 udp4 gateway:67': GUEST[4],
        'g1 udp4 gateway:53': GUEST[4],
        // Whoever refuses that goes on refusing it.
        'g1 tcp4 gateway:22': 'silence',
      });
      expect(left).toBe(true);
      const told = others.split(',').filter((other) => other !== backend);
      expect(notes).toEqual(
        told.map((other) => expect.stringContaining(`rules made with ${other} refuse packets too`)),
      );
    },
    60_000,
  );
});

function forwardsSeen(mode: string): Record<string, Seen> {
  // An isolated network's guests know no way to the outside: the host asks for it.
  const seenAs = (address: string, gateway: string): string => (mode === 'isolated' ? gateway : address);
  const all: Seen = {};
  for (const [protocol, port] of [
    ['tcp', 2222],
    ['udp', 5353],
  ] as const) {
    for (const family of [4, 6] as const) {
      const gateway = family === 4 ? '192.168.100.1' : 'fd00:100::1';
      const other = family === 4 ? '192.168.101.10' : 'fd00:101::10';
      const key = (from: string): string => `${from} ${protocol}${family} host:${port}`;
      all[key('outside')] = seenAs(OUTSIDE[family], gateway);
      all[key('host')] = seenAs(HOST[family], gateway);
      all[key('h1')] = seenAs(other, gateway);
      all[key('g1')] = gateway;
      all[key('g2')] = gateway;
    }
    all[`host ${protocol}4 loopback:${port}`] = '192.168.100.1';
  }
  return {
    early: { 'outside tcp4 host:2222': 'ECONNRESET' },
    all: {
      ...all,
      'host tcp6 loopback:2222': '192.168.100.1',
      'g2 tcp4 gateway:2222': '192.168.100.1',
      'outside tcp4 host:8080': seenAs(OUTSIDE[4], '192.168.100.1'),
      'host tcp4 loopback:8080': 'refused',
    },
    removed: {
      'outside tcp4 host:2222': 'refused',
      'host tcp4 loopback:2222': 'refused',
      'outside udp4 host:5353': seenAs(OUTSIDE[4], '192.168.100.1'),
    },
  };
}
