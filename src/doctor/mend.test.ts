import { describe, expect, it } from 'vitest';
import { type Finding, pass, warn } from './finding.ts';
import { mendFindings } from './mend.ts';

const NO_MODULE = warn('tun', 'tap devices', 'no module', 'taps', { command: 'modprobe tun', safe: true });
const NO_NODE = warn('tun', 'tap devices', 'no node', 'taps', { command: 'mknod tun', safe: true });
const WELL = pass('tun', 'tap devices', 'can be opened');
const GROUP = warn('kvm', 'acceleration', 'not in the group', 'slow', 'usermod -aG kvm me');

async function mend(states: readonly (readonly Finding[])[], complaints: Readonly<Record<string, string>> = {}) {
  const lines: string[] = [];
  const ran: string[] = [];
  let at = 0;
  const result = await mendFindings(states[0] ?? [], {
    run: async (command) => {
      ran.push(command);
      return complaints[command];
    },
    recheck: async () => [...(states[++at] ?? states.at(-1) ?? [])],
    say: (line) => lines.push(line),
  });
  return { ...result, lines, ran };
}

describe('mending', () => {
  it('tells what was wrong, what it runs and what is so now; what is not safe is left alone', async () => {
    const { lines, ran, mended, findings } = await mend([
      [NO_NODE, GROUP],
      [WELL, GROUP],
    ]);
    expect(lines).toEqual(['tap devices: no node', '  runs: mknod tun', 'tap devices: now well: can be opened']);
    expect([ran, mended, findings]).toEqual([['mknod tun'], ['tun'], [WELL, GROUP]]);
  });

  it('goes on once with what the first command has brought to light', async () => {
    const { ran, mended } = await mend([[NO_MODULE], [NO_NODE], [WELL]]);
    expect([ran, mended]).toEqual([['modprobe tun', 'mknod tun'], ['tun']]);
  });

  it('tries no command twice, and says why one failed', async () => {
    const { ran, lines, mended } = await mend([[NO_MODULE]], { 'modprobe tun': 'not permitted' });
    expect([ran, mended]).toEqual([['modprobe tun'], []]);
    expect(lines).toContain('  failed: not permitted');
    expect(lines.at(-1)).toBe('tap devices: now still wrong: no module');
  });

  it('does nothing where nothing can be mended', async () => {
    expect(await mend([[WELL, GROUP]])).toMatchObject({ ran: [], lines: [], mended: [] });
  });
});
