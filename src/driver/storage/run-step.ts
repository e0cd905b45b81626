/** Carries a planned command out, and says what it said when it fails. */
import { ErrorCode } from '../../core/errors.ts';
import { findProgram } from '../../process/find-program.ts';
import { runCommand } from '../../process/run-command.ts';
import type { Waiting } from '../driver.ts';
import type { Command } from './plan/command.ts';
import { storageError } from './storage-errors.ts';

/** Lists of volumes may be long. */
const OUTPUT_MAX = 64 * 1024 * 1024;

/**
 * What works on a file that nobody will want once we are gone. Others are let finish, as they leave a device half changed when they are
 * interrupted.
 */
const DIES_WITH_US: ReadonlySet<string> = new Set(['qemu-img', 'cp', 'scrub']);

/** What they do to the host is root's alone. */
const ROOTS_OWN: ReadonlySet<string> = new Set(
  `mount umount parted wipefs zfs zpool pvcreate pvremove pvs vgcreate vgremove vgchange vgs lvcreate lvremove lvextend lvreduce lvs`.split(
    ' ',
  ),
);

const NEEDS_ROOT = " (only root may: run as root, use root's daemon at qemu:///system, or a pool of type 'dir')";

/** Runs commands; tests have their own. */
export type RunStep = (command: Command, options?: Waiting) => Promise<string>;

/**
 * @returns what it printed
 * @throws ProcessError where it is not installed, VirtError where it fails, or the signal's reason
 */
export const runStep: RunStep = async ({ program, args, accepts = [] }, { signal } = {}) => {
  const path = findProgram(program);
  const [first, ...rest] = DIES_WITH_US.has(program)
    ? [findProgram('setpriv'), '--pdeathsig', 'KILL', path, ...args]
    : [path, ...args];
  const { status, stdout, stderr, error } = await runCommand(first ?? path, rest, {
    signal,
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: OUTPUT_MAX,
  });
  if (status === 0 || (status !== undefined && accepts.includes(status))) return stdout;
  const words = (stderr.trim() === '' ? stdout : stderr).trim().replaceAll(/\s*\n\s*/g, '; ');
  const end = status === undefined ? (error?.message ?? 'it did not end by itself') : `status ${status}`;
  const fix = ROOTS_OWN.has(program) && process.geteuid?.() !== 0 ? NEEDS_ROOT : '';
  throw storageError(`${[path, ...args].join(' ')} failed (${end}): ${words}${fix}`, ErrorCode.INTERNAL_ERROR, error);
};
