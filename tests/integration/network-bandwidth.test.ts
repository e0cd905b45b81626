/** Limits of guests and networks, with real traffic: only what is at most is asserted of rates, and who gets more than whom. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { bundleScript } from '../support/bundle.ts';

const isPossible =
  spawnSync('unshare', [
    '-n',
    'sh',
    '-c',
    'ip link add br7 type bridge && tc qdisc add dev br7 root handle 1: htb && nft list ruleset',
  ]).status === 0;
if (!isPossible) process.stderr.write('SKIPPED: limits of networks need root, bridges, the HTB scheduler and nft\n');

interface Seen {
  free: { receives: number; sends: number };
  limited: { receives: number; sends: number; other: number };
  lifted: { receives: number; sends: number };
  network: { before: number[]; kept: number[]; tooMuch: string; end: { receives: number } };
  left: { qdiscs: string; rules: string; ledger: unknown[] };
}

/** An idle veth is far beyond it; a busy machine is not below. */
const FREE_KB_PER_SECOND = 5000;

describe.skipIf(!isPossible)('bandwidth', () => {
  it('of guests and networks is what was asked for, shares are kept, and nothing is left', async () => {
    const script = await bundleScript(fileURLToPath(new URL('network-bandwidth-program.ts', import.meta.url)));
    const dir = mkdtempSync(join(tmpdir(), 'nestling-bandwidth-'));
    const { stdout } = await promisify(execFile)('unshare', ['-n', process.execPath, script, 'measure', dir], {
      encoding: 'utf8',
    }).finally(() => rmSync(dir, { recursive: true }));
    const { free, limited, lifted, network, left } = JSON.parse(stdout) as Seen;
    for (const rate of [
      free.receives,
      free.sends,
      limited.other,
      lifted.receives,
      lifted.sends,
      network.end.receives,
    ]) {
      expect(rate).toBeGreaterThan(FREE_KB_PER_SECOND);
    }
    // 500 and 300 kB/s, and bursts.
    expect(limited.receives).toBeLessThan(1000);
    expect(limited.sends).toBeLessThan(800);
    const [withShare = 0, without = 0] = network.kept;
    for (const rates of [network.before, network.kept]) {
      expect(rates.reduce((sum, rate) => sum + rate, 0)).toBeLessThan(2500);
    }
    // It had less before.
    expect(withShare).toBeGreaterThan(without);
    expect(network.tooMuch).toMatch(/overcommit 'peak' \(1000\) on network 'n', of which 900 are given away/);
    expect(left).toMatchObject({ rules: '', ledger: [] });
    expect(left.qdiscs).not.toMatch(/htb|ingress/);
  }, 60_000);
});
