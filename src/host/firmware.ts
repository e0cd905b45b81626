/**
 * QEMU's firmware descriptors (docs/interop/firmware.json): which directories count, which file hides which, and the
 * typed records in them. Choosing one for a guest is `firmware-select.ts`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file with its image format (`raw`, `qcow2`). */
export interface FirmwareFile {
  readonly path: string;
  readonly format: string;
}

/** How the firmware gets into the guest. */
export type FirmwareMapping =
  | {
      readonly device: 'flash';
      /** `split`: variables in a file of their own; `combined`: one writable file; `stateless`: no variables are kept. */
      readonly mode: 'split' | 'combined' | 'stateless';
      readonly executable: FirmwareFile;
      readonly nvramTemplate?: FirmwareFile;
    }
  | { readonly device: 'kernel' | 'memory'; readonly executable: FirmwareFile };

/** One descriptor. */
export interface FirmwareDescriptor {
  /** File it was read from. */
  readonly source: string;
  readonly description: string;
  /** `bios`, `uefi`, `openfirmware`, `uboot`. */
  readonly interfaceTypes: readonly string[];
  readonly mapping: FirmwareMapping;
  /** QEMU target names, each with globs over canonical machine names. */
  readonly targets: readonly { readonly architecture: string; readonly machines: readonly string[] }[];
  readonly features: readonly string[];
}

/** What was read, and what had to be left out. */
export interface FirmwareDescriptors {
  readonly descriptors: readonly FirmwareDescriptor[];
  /** One line for each file that could not be used. */
  readonly problems: readonly string[];
}

/** Where descriptors are looked for, least specific first. A user's own directory is not for root's guests. */
export function firmwareDirs(
  { uid, env }: { uid: number; env: NodeJS.ProcessEnv } = { uid: process.getuid?.() ?? 0, env: process.env },
): string[] {
  const dirs = ['/usr/share/qemu/firmware', '/etc/qemu/firmware'];
  const config = env['XDG_CONFIG_HOME'] || (env['HOME'] ? join(env['HOME'], '.config') : undefined);
  return uid !== 0 && config !== undefined ? [...dirs, join(config, 'qemu/firmware')] : dirs;
}

/**
 * The descriptors of all directories, in the order in which they are to be tried: by file name. A file in a more
 * specific directory replaces those of the same name, and an empty one (or a link to /dev/null) hides them.
 */
export function readFirmwareDescriptors(dirs: readonly string[] = firmwareDirs()): FirmwareDescriptors {
  const problems: string[] = [];
  const files = new Map<string, string>();
  for (const dir of dirs) for (const name of listJson(dir, problems)) files.set(name, join(dir, name));
  const descriptors: FirmwareDescriptor[] = [];
  for (const [, path] of [...files].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    try {
      const text = readFileSync(path, 'utf8');
      if (text !== '') descriptors.push(parseFirmwareDescriptor(path, text));
    } catch (error) {
      problems.push(`reading firmware descriptor ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { descriptors, problems };
}

/** A descriptor that does not follow the specification. */
export class FirmwareDescriptorError extends Error {
  override readonly name = 'FirmwareDescriptorError';
}

/** One descriptor from its JSON text. @throws SyntaxError, FirmwareDescriptorError */
export function parseFirmwareDescriptor(source: string, text: string): FirmwareDescriptor {
  const root = record(JSON.parse(text), 'the file');
  return {
    source,
    description: typeof root['description'] === 'string' ? root['description'] : '',
    interfaceTypes: texts(root['interface-types'], 'interface-types'),
    mapping: parseMapping(record(root['mapping'], 'mapping')),
    targets: list(root['targets'], 'targets').map((target) => {
      const { architecture, machines } = record(target, 'a target');
      return { architecture: text1(architecture, 'architecture'), machines: texts(machines, 'machines') };
    }),
    features: texts(root['features'], 'features'),
  };
}

function parseMapping(mapping: Record<string, unknown>): FirmwareMapping {
  const device = mapping['device'];
  if (device === 'kernel' || device === 'memory')
    return { device, executable: { path: text1(mapping['filename'], 'mapping.filename'), format: 'raw' } };
  if (device !== 'flash') throw new FirmwareDescriptorError(`mapping.device is ${JSON.stringify(device)}`);
  const executable = parseFile(mapping['executable'], 'mapping.executable');
  const mode = mapping['mode'] ?? 'split'; // added in QEMU 7.0; older descriptors are all split
  if (mode === 'split')
    return { device, mode, executable, nvramTemplate: parseFile(mapping['nvram-template'], 'mapping.nvram-template') };
  if (mode !== 'combined' && mode !== 'stateless')
    throw new FirmwareDescriptorError(`mapping.mode is ${JSON.stringify(mode)}`);
  return { device, mode, executable };
}

function parseFile(value: unknown, what: string): FirmwareFile {
  const file = record(value, what);
  return { path: text1(file['filename'], `${what}.filename`), format: text1(file['format'], `${what}.format`) };
}

function listJson(dir: string, problems: string[]): string[] {
  try {
    return readdirSync(dir).filter((name) => name.endsWith('.json') && !name.startsWith('.'));
  } catch (error) {
    // A directory that is not there is the usual case; one that cannot be read is worth a word.
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT'))
      problems.push(`listing firmware directory ${dir}: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new FirmwareDescriptorError(`${what} is no object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new FirmwareDescriptorError(`${what} is no list`);
  return value;
}

function texts(value: unknown, what: string): string[] {
  return list(value, what).map((item) => text1(item, what));
}

function text1(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new FirmwareDescriptorError(`${what} is no text`);
  return value;
}
