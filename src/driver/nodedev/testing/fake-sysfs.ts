/**
 * A sysfs and a udev database in a folder, made of a list of devices: the format is that of umockdev (`P:` path, `N:` node, `S:` link,
 * `E:` variable, `A:` attribute, `H:` binary one, `L:` link), so that recordings of real machines can be used too.
 */
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The devices of no machine: one of each kind that libvirt knows. */
export const ALL_KINDS = (): string => readFileSync(fileURLToPath(new URL('devices.txt', import.meta.url)), 'utf8');

export interface FakeSysfs {
  readonly dir: string;
  readonly sys: string;
  readonly udev: string;
}

/** Buses have their devices in one folder, classes have links to theirs. */
const BUSES = new Set(['pci', 'usb', 'scsi', 'mdev', 'vdpa', 'ccw', 'css', 'ap', 'matrix']);

export function makeSysfs(text: string, dir = mkdtempSync(join(tmpdir(), 'fake-sysfs-'))): FakeSysfs {
  const sys = join(dir, 'sys');
  const udev = join(dir, 'udev');
  mkdirSync(join(sys, 'devices'), { recursive: true });
  mkdirSync(udev);
  for (const device of text.split(/\n\s*\n/))
    if (device.trim() !== '') makeDevice(device.trim().split('\n'), sys, udev);
  return { dir, sys, udev };
}

/** What udev's rules add: the kernel has none of it. */
const OF_RULES = /^(ID_|DKD_)/;

function makeDevice(lines: readonly string[], sys: string, udev: string): void {
  const of = (kind: string): string[] =>
    lines.filter((line) => line.startsWith(`${kind}: `)).map((line) => line.slice(3));
  const pairs = (kind: string): [string, string][] =>
    of(kind).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
  const [path = ''] = of('P');
  const [node] = of('N');
  const variables = pairs('E').filter(([key]) => key !== 'DEVNAME' && key !== 'SUBSYSTEM');
  const subsystem = pairs('E').find(([key]) => key === 'SUBSYSTEM')?.[1] ?? '';
  const dir = join(sys, path);
  mkdirSync(dir, { recursive: true });
  const uevent = variables.filter(([key]) => !OF_RULES.test(key));
  if (node !== undefined) uevent.push(['DEVNAME', node]);
  writeFileSync(join(dir, 'uevent'), uevent.map(([key, value]) => `${key}=${value}\n`).join(''));
  for (const [name, value] of pairs('A')) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), value.replaceAll('\\n', '\n'));
  }
  for (const [name, hex] of pairs('H')) writeFileSync(join(dir, name), Buffer.from(hex, 'hex'));
  const isBus = BUSES.has(subsystem);
  link(join(dir, 'subsystem'), join(sys, isBus ? 'bus' : 'class', subsystem));
  link(join(sys, isBus ? `bus/${subsystem}/devices` : `class/${subsystem}`, basename(path)), dir);
  for (const [name, target] of pairs('L')) link(join(dir, name), resolve(dir, target));
  const driver = variables.find(([key]) => key === 'DRIVER')?.[1];
  if (driver !== undefined) link(join(dir, 'driver'), join(sys, 'bus', subsystem, 'drivers', driver));
  const rules = variables.filter(([key]) => OF_RULES.test(key)).map(([key, value]) => `E:${key}=${value}`);
  const links = of('S').map((name) => `S:${name}`);
  if (rules.length + links.length === 0) return;
  const number = Object.fromEntries(variables);
  const kind = subsystem === 'block' ? 'b' : 'c';
  const record = 'MAJOR' in number ? `${kind}${number['MAJOR']}:${number['MINOR']}` : `+${subsystem}:${basename(path)}`;
  writeFileSync(join(udev, record), `${[...links, 'I:1', ...rules].join('\n')}\n`);
}

/** Links of sysfs are relative: a mount elsewhere follows them too. */
function link(path: string, target: string): void {
  mkdirSync(dirname(path), { recursive: true });
  mkdirSync(target, { recursive: true });
  symlinkSync(relative(dirname(path), target), path);
}
