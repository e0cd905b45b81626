/** Descriptor directories and files, in temporary folders. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { firmwareDirs, parseFirmwareDescriptor, readFirmwareDescriptors } from './firmware.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const FLASH = {
  device: 'flash',
  executable: { filename: '/fw/CODE.fd', format: 'raw' },
  'nvram-template': { filename: '/fw/VARS.fd', format: 'raw' },
};

function text(description: string, mapping: unknown = FLASH): string {
  const targets = [{ architecture: 'x86_64', machines: ['pc-q35-*'] }];
  return JSON.stringify({
    description,
    'interface-types': ['uefi'],
    mapping,
    targets,
    features: ['acpi-s3'],
    tags: [],
  });
}

function put(dir: string, name: string, content: string): void {
  mkdirSync(join(root, dir), { recursive: true });
  writeFileSync(join(root, dir, name), content);
}

const read = () => readFirmwareDescriptors(['vendor', 'admin', 'user'].map((dir) => join(root, dir)));

describe('firmwareDirs', () => {
  it('has the user directory for users only', () => {
    expect(firmwareDirs({ uid: 0, env: { HOME: '/root' } })).toEqual([
      '/usr/share/qemu/firmware',
      '/etc/qemu/firmware',
    ]);
    expect(firmwareDirs({ uid: 1, env: { HOME: '/h' } }).at(-1)).toBe('/h/.config/qemu/firmware');
    expect(firmwareDirs({ uid: 1, env: { HOME: '/h', XDG_CONFIG_HOME: '/x' } }).at(-1)).toBe('/x/qemu/firmware');
    expect(firmwareDirs({ uid: 1, env: {} })).toHaveLength(2);
  });
});

describe('readFirmwareDescriptors', () => {
  it('orders by file name across directories', () => {
    put('vendor', '50-b.json', text('vendor b'));
    put('admin', '40-a.json', text('admin a'));
    put('user', '60-c.json', text('user c'));
    put('vendor', 'README', 'not JSON, not read');
    put('vendor', '.hidden.json', 'not JSON, not read');
    expect(read().descriptors.map(({ description }) => description)).toEqual(['admin a', 'vendor b', 'user c']);
    expect(read().problems).toEqual([]);
  });

  it('lets a more specific directory replace a file of the same name', () => {
    put('vendor', '50-b.json', text('vendor'));
    put('admin', '50-b.json', text('admin'));
    put('user', '50-b.json', text('user'));
    expect(read().descriptors.map(({ description }) => description)).toEqual(['user']);
  });

  it('lets an empty file, or a link to /dev/null, hide one', () => {
    put('vendor', '50-b.json', text('vendor'));
    put('vendor', '60-c.json', text('vendor'));
    put('admin', '50-b.json', '');
    symlinkSync('/dev/null', join(root, 'admin/60-c.json'));
    expect(read()).toEqual({ descriptors: [], problems: [] });
  });

  it('leaves out what it cannot use, and names it', () => {
    put('vendor', '10-broken.json', '{');
    put('vendor', '20-odd.json', text('odd', { device: 'rom' }));
    put('vendor', '50-b.json', text('good'));
    const { descriptors, problems } = read();
    expect(descriptors.map(({ description }) => description)).toEqual(['good']);
    expect(problems).toHaveLength(2);
    expect(problems[0]).toContain('10-broken.json');
    expect(problems[1]).toMatch(/20-odd\.json.*mapping\.device is "rom"/);
  });

  it('finds nothing where there is no directory', () => {
    expect(read()).toEqual({ descriptors: [], problems: [] });
  });
});

describe('parseFirmwareDescriptor', () => {
  it('takes flash for split when no mode is given', () => {
    expect(parseFirmwareDescriptor('f', text('d'))).toEqual({
      source: 'f',
      description: 'd',
      interfaceTypes: ['uefi'],
      mapping: {
        device: 'flash',
        mode: 'split',
        executable: { path: '/fw/CODE.fd', format: 'raw' },
        nvramTemplate: { path: '/fw/VARS.fd', format: 'raw' },
      },
      targets: [{ architecture: 'x86_64', machines: ['pc-q35-*'] }],
      features: ['acpi-s3'],
    });
  });

  it('reads stateless flash and memory', () => {
    const { executable } = FLASH;
    expect(parseFirmwareDescriptor('f', text('d', { device: 'flash', mode: 'stateless', executable })).mapping).toEqual(
      {
        device: 'flash',
        mode: 'stateless',
        executable: { path: '/fw/CODE.fd', format: 'raw' },
      },
    );
    expect(parseFirmwareDescriptor('f', text('d', { device: 'memory', filename: '/fw/bios' })).mapping).toEqual({
      device: 'memory',
      executable: { path: '/fw/bios', format: 'raw' },
    });
  });

  it.each([
    ['no template', { ...FLASH, 'nvram-template': undefined }, /nvram-template is no object/],
    ['no file name', { device: 'memory' }, /filename is no text/],
    ['an unknown mode', { ...FLASH, mode: 'magic' }, /mode is "magic"/],
  ])('refuses %s', (_name, mapping, expected) => {
    expect(() => parseFirmwareDescriptor('f', text('d', mapping))).toThrow(expected);
  });
});
