/**
 * One device as the kernel and udev tell of it: sysfs attributes, the variables of its `uevent` file, and what udev's rules have added.
 * Facts only; what they mean to libvirt is in `details-*.ts`.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { listNames } from '../../core/list-names.ts';

/** Where to look; tests give folders of their own. */
export interface DeviceRoots {
  readonly sys?: string;
  /** udev's database. */
  readonly udev?: string;
  /** Folders of `pci.ids`, the first that has one. */
  readonly pciIds?: readonly string[];
  readonly machineId?: string;
}

export class SysDevice {
  /** As the kernel says it: `/sys/devices/…`. */
  readonly path: string;
  readonly subsystem: string;
  readonly name: string;
  readonly #dir: string;
  readonly #uevent: ReadonlyMap<string, string>;
  readonly #udev: string;
  #database: UdevRecord | undefined;

  /** `dir`: the device's folder, links resolved. */
  constructor(dir: string, subsystem: string, { sys, udev }: Required<Pick<DeviceRoots, 'sys' | 'udev'>>) {
    this.#dir = dir;
    this.#udev = udev;
    this.path = join('/sys', relative(sys, dir));
    this.subsystem = subsystem;
    // The kernel writes `!` where a name has a slash.
    this.name = basename(dir).replaceAll('!', '/');
    this.#uevent = new Map(
      (readText(join(dir, 'uevent')) ?? '').split('\n').flatMap((line) => {
        const [, key, value] = /^([^=]+)=(.*)$/.exec(line) ?? [];
        return key === undefined || value === undefined ? [] : [[key, value] as const];
      }),
    );
  }

  get deviceType(): string | undefined {
    return this.#uevent.get('DEVTYPE');
  }

  /** Of the kernel, or of udev's rules. */
  property(name: string): string | undefined {
    return this.#uevent.get(name) ?? this.#record().properties.get(name);
  }

  get node(): string | undefined {
    const found = this.#uevent.get('DEVNAME');
    return found === undefined ? undefined : join('/dev', found);
  }

  /** Other names of its node below /dev. */
  get links(): readonly string[] {
    return this.#record().links;
  }

  /** One line of text without control characters; undefined where there is none or it is empty. */
  attribute(name: string): string | undefined {
    return cleanText(readText(join(this.#dir, name)));
  }

  /** The number that an attribute begins with, in C's notation or in base 16. */
  number(name: string, base?: 16): number | undefined {
    return parseNumber(this.attribute(name), base);
  }

  bytes(name: string, most = 64 * 1024): Buffer | undefined {
    try {
      return readFileSync(join(this.#dir, name)).subarray(0, most);
    } catch {
      // Absent, or root's.
      return undefined;
    }
  }

  /** Last part of what a symbolic link leads to. */
  linked(name: string): string | undefined {
    try {
      return basename(realpathSync(join(this.#dir, name)));
    } catch {
      // Most devices lack most links.
      return undefined;
    }
  }

  /** Names in a folder of the device, sorted; empty where there is none. */
  entries(folder = '.'): string[] {
    return listNames(join(this.#dir, folder));
  }

  #record(): UdevRecord {
    this.#database ??= readUdevRecord(this.#udev, this.#databaseName());
    return this.#database;
  }

  #databaseName(): string {
    const [major, minor, index] = ['MAJOR', 'MINOR', 'IFINDEX'].map((key) => this.#uevent.get(key));
    if (major !== undefined && minor !== undefined) return `${this.subsystem === 'block' ? 'b' : 'c'}${major}:${minor}`;
    return index === undefined ? `+${this.subsystem}:${this.name}` : `n${index}`;
  }
}

interface UdevRecord {
  readonly properties: ReadonlyMap<string, string>;
  readonly links: readonly string[];
}

/** Without a running udev there is no database: then the kernel's word is all there is. */
function readUdevRecord(dir: string, name: string): UdevRecord {
  const lines = (readText(join(dir, name.replaceAll('/', '!'))) ?? '').split('\n');
  const properties = lines.flatMap((line) => {
    const [, key, value] = /^E:([^=]+)=(.*)$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [[key, value] as const];
  });
  const links = lines.filter((line) => line.startsWith('S:')).map((line) => join('/dev', line.slice(2)));
  return { properties: new Map(properties), links: links.sort() };
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // sysfs leaves out what a device does not have, and some files are root's.
    return undefined;
  }
}

/** One line without control characters; undefined where nothing is left. */
export function cleanText(text: string | undefined): string | undefined {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  const found = text?.replace(/[\r\n]+$/, '').replaceAll(/[\u0000-\u001f\u007f]/g, '');
  return found === undefined || found === '' ? undefined : found;
}

/** Decimal, or hexadecimal after 0x or with base 16. */
export function parseNumber(text: string | undefined, base?: 16): number | undefined {
  const digits = text?.trim();
  if (digits === undefined || digits === '') return undefined;
  const found =
    base === 16 && /^[0-9a-f]+$/i.test(digits) ? Number.parseInt(digits, 16) : Number(digits.replace(/^\+/, ''));
  return Number.isNaN(found) ? undefined : found;
}
