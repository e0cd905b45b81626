/**
 * Before the tests with real QEMU: says what the host lacks, and builds the guests once. It removes nothing afterwards: the guests
 * stay in the cache for the next run.
 */
import { spawnSync } from 'node:child_process';
import { BOOT_SECTORS, bootSectorImage } from './guests/boot-sectors.ts';
import { linuxGuest } from './guests/linux-guest.ts';

const NEEDED: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  setpriv: 'util-linux',
};

export default async function setup(): Promise<void> {
  const missing = Object.keys(NEEDED).filter((program) => spawnSync(program, ['--version']).error !== undefined);
  if (missing.length > 0) {
    const packages = missing.map((program) => NEEDED[program]).join(' ');
    throw new Error(
      `run the tests with real QEMU: ${missing.join(', ')} not found; ./dev setup, or apt-get install ${packages} (tests without it: --project unit)`,
    );
  }
  await Promise.all(BOOT_SECTORS.map((kind) => bootSectorImage(kind)));
  try {
    await linuxGuest();
  } catch (error) {
    // Most tests boot a sector and need no kernel: without network they can still be run by hand, but CI runs them all.
    if (process.env['CI'] !== undefined) throw error;
    console.warn(`WARNING: there is no Linux test guest; the tests that boot it will fail: ${String(error)}`);
  }
}
