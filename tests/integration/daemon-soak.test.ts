/**
 * Fifty clients at twenty guests of a daemon that is killed again and again: no lost definition, no orphan, no state that nothing
 * explains, no wrong reply. NESTLING_SOAK_S is for how long (default 10 s), NESTLING_SOAK_SEED which choices.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { guestsOf, startDaemon } from '../support/daemon.ts';
import { exists } from '../support/soak/guest-model.ts';
import { Soak } from '../support/soak/soak.ts';

const SECONDS = Number(process.env['NESTLING_SOAK_S'] ?? 10);
const SEED = Number(process.env['NESTLING_SOAK_SEED'] ?? Date.now() % 2 ** 31);
/** One for each 12 s, at least three. */
const KILLS = Math.max(3, Math.floor(SECONDS / 12));

it(
  `stands ${SECONDS} s of 50 clients at 20 guests with ${KILLS} kills of the daemon`,
  async () => {
    await using daemon = await startDaemon();
    const soak = await Soak.prepare(daemon, { seconds: SECONDS, clients: 50, guests: 20, kills: KILLS, seed: SEED });
    const { faults, ...counts } = await soak.run();
    process.stderr.write(`\nsoak: seed ${SEED}, ${JSON.stringify(counts)}\n`);
    expect(faults, `seed ${SEED}`).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(SECONDS);
    expect(counts.refused).toBeGreaterThan(0);
    expect(await soak.survey()).toEqual([]);
    // Processes and files are what the model says, too, after a last kill and an orderly end.
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await daemon.stop(signal);
      const running = [...soak.expected.values()].filter(({ live }) => live !== 'off');
      expect(guestsOf(daemon.stateDir)).toHaveLength(running.length);
      await daemon.start();
      expect(await soak.survey()).toEqual([]);
    }
    const defined = [...soak.expected]
      .filter(([, { version }]) => version !== undefined)
      .map(([name]) => `${name}.xml`);
    const etc = join(daemon.stateDir, 'etc', 'qemu');
    expect(filesOf(etc)).toEqual(defined.toSorted());
    expect([...soak.expected.values()].some(exists)).toBe(true);
    await soak.clear();
    await daemon.stop();
    expect(guestsOf(daemon.stateDir)).toEqual([]);
    expect(filesOf(etc)).toEqual([]);
    expect(filesOf(join(daemon.stateDir, 'run', 'status'))).toEqual(['autostarted']);
    expect(filesOf(join(daemon.stateDir, 'run', 'qemu')).filter((name) => name.startsWith('domain-'))).toEqual([]);
  },
  (SECONDS + 180) * 1000,
);

/** Without folders that stay. */
function filesOf(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => !['autostart', 'networks', 'nvram', 'channel', 'save'].includes(name))
    .toSorted();
}
