/**
 * Finds the outside test data: the referee's folder, or a libvirt source tree named by NESTLING_LIBVIRT_SRC, and
 * reads both into the same list of cases. Nothing of it is part of this project.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One domain and what libvirt makes of it. */
export interface ArgvCase {
  readonly name: string;
  readonly xmlPath: string;
  /** Expected command line; absent where libvirt refuses the domain. */
  readonly args?: string;
  /** libvirt's message where it refuses. */
  readonly refusal?: string;
}

export interface Referee {
  readonly cases: readonly ArgvCase[];
  /** Recorded QMP dialogue of the QEMU that the expectations are for. */
  readonly replies: string;
}

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));

/** The data, or undefined with the places that were looked at. */
export function findReferee(env: NodeJS.ProcessEnv = process.env): Referee | undefined {
  const source = env['NESTLING_LIBVIRT_SRC'];
  if (source !== undefined) return readSourceTree(source);
  const folder = env['NESTLING_REFEREE'] ?? resolve(PROJECT, '../shared/referee');
  return existsSync(join(folder, 'qemu-argv')) ? readRefereeFolder(folder) : undefined;
}

function readRefereeFolder(folder: string): Referee {
  const dir = join(folder, 'qemu-argv');
  return { cases: readCases(dir, ''), replies: readFileSync(join(folder, 'caps_10.0.0_x86_64.replies'), 'utf8') };
}

/** libvirt keeps expectations for many QEMU versions; the newest of x86_64 is `NAME.x86_64-latest.args`. */
function readSourceTree(source: string): Referee {
  const capabilities = join(source, 'tests/qemucapabilitiesdata');
  const newest = readdirSync(capabilities)
    .filter((file) => /^caps_[\d.]+_x86_64\.replies$/.test(file))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1);
  if (newest === undefined) throw new Error(`no x86_64 capabilities below ${capabilities}`);
  const cases = readCases(join(source, 'tests/qemuxmlconfdata'), '.x86_64-latest');
  return { cases, replies: readFileSync(join(capabilities, newest), 'utf8') };
}

function readCases(dir: string, variant: string): ArgvCase[] {
  const cases: ArgvCase[] = [];
  for (const file of readdirSync(dir).sort()) {
    const match = /^(.*)\.(args|err)$/.exec(file);
    if (match?.[1] === undefined || !match[1].endsWith(variant)) continue;
    const name = match[1].slice(0, match[1].length - variant.length);
    const xmlPath = join(dir, `${name}.xml`);
    if (!existsSync(xmlPath)) continue;
    const text = readFileSync(join(dir, file), 'utf8');
    cases.push(match[2] === 'args' ? { name, xmlPath, args: text } : { name, xmlPath, refusal: text });
  }
  return cases;
}
