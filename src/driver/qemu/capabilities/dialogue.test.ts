/** Recorded dialogues: our own small ones for the form, and large real ones where they are at hand. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findMachine, hasDevice, hasFeature, hasOption, hasProperty, versionAtLeast } from './capabilities.ts';
import { capabilitiesFromDialogue, DialogueError, parseDialogues } from './dialogue.ts';

const message = (value: unknown): string => JSON.stringify(value, undefined, 2);
const dialogue = (...messages: unknown[]): string => messages.map(message).join('\n\n');

describe('parseDialogues', () => {
  it('splits at qmp_capabilities and keeps refusals', () => {
    const text = dialogue(
      { execute: 'qmp_capabilities', id: 'a' },
      { return: {} },
      { execute: 'query-kvm' },
      { return: { present: true } },
      { execute: 'qmp_capabilities' },
      { return: {} },
      { execute: 'x', arguments: { y: 1 } },
      { error: { class: 'GenericError', desc: 'no' } },
    );
    expect(parseDialogues(`${text}\n`)).toEqual([
      [{ execute: 'query-kvm', result: { value: { present: true } } }],
      [{ execute: 'x', arguments: { y: 1 }, result: { error: { class: 'GenericError', desc: 'no' } } }],
    ]);
  });

  it.each([
    ['a command without reply', dialogue({ execute: 'qmp_capabilities' }), /has no reply/],
    ['no negotiation', dialogue({ execute: 'query-kvm' }, { return: {} }), /begins with 'query-kvm'/],
    ['no JSON', '{\n\n}', /message 1 is not JSON/],
    ['no command', dialogue({ what: 1 }, { return: {} }), /message 1 is no command/],
  ])('refuses %s', (_name, text, expected) => {
    expect(() => parseDialogues(text)).toThrow(DialogueError);
    expect(() => parseDialogues(text)).toThrow(expected);
  });

  it('refuses an empty recording', () => {
    expect(() => capabilitiesFromDialogue('q', '\n')).toThrow(/it is empty/);
  });
});

const repository = join(dirname(fileURLToPath(import.meta.url)), '../../../..');
const referee = process.env['NESTLING_REFEREE'] ?? join(repository, '../shared/referee');
const recording = (version: string): string => join(referee, `caps_${version}_x86_64.replies`);
const present = ['7.2.0', '10.0.0'].every((version) => existsSync(recording(version)));
if (!present) process.stderr.write(`SKIPPED: recorded QMP dialogues are not in ${referee}; set NESTLING_REFEREE\n`);

describe.skipIf(!present)('recordings of real QEMUs', () => {
  const read = (version: string) =>
    capabilitiesFromDialogue('/usr/bin/qemu-system-x86_64', readFileSync(recording(version), 'utf8'));

  it('reads QEMU 10.0', () => {
    const capabilities = read('10.0.0');
    expect(versionAtLeast(capabilities, 10, 0)).toBe(true);
    expect(capabilities.kvm).toEqual({ present: true, enabled: true });
    expect(Object.keys(capabilities.accelerators).sort()).toEqual(['kvm', 'tcg']);
    expect(findMachine(capabilities, 'q35')?.name).toBe('pc-q35-10.0');
    expect(hasDevice(capabilities, 'virtio-sound-pci')).toBe(true);
    expect(hasProperty(capabilities, 'virtio-blk-pci', 'iothread-vq-mapping')).toBe(true);
    expect(hasOption(capabilities, 'sandbox', 'spawn')).toBe(true);
    expect(hasFeature(capabilities, 'chardev-reconnect-ms')).toBe(true);
    expect(hasFeature(capabilities, 'blockdev-file-dynamic-auto-read-only')).toBe(true);
    expect(hasFeature(capabilities, 'display-gtk')).toBe(false);
    expect(capabilities.accelerators.kvm?.hostModel?.nonMigratable).toEqual(['invtsc']);
    expect(capabilities.accelerators.kvm?.hostModel?.hyperv).toContain('hv-relaxed');
    expect(capabilities.accelerators.kvm?.hostModel?.hyperv).not.toContain('hv-passthrough');
    expect(JSON.stringify(capabilities).length).toBeLessThan(150_000);
  });

  it('tells 7.2 from 10.0', () => {
    const capabilities = read('7.2.0');
    expect(versionAtLeast(capabilities, 7, 2)).toBe(true);
    expect(versionAtLeast(capabilities, 8)).toBe(false);
    expect(hasFeature(capabilities, 'netdev-stream')).toBe(true);
    expect(hasFeature(capabilities, 'netdev-stream-reconnect')).toBe(false);
    expect(hasFeature(capabilities, 'chardev-reconnect')).toBe(true);
    expect(hasFeature(capabilities, 'chardev-reconnect-ms')).toBe(false);
    expect(hasProperty(capabilities, 'virtio-blk-pci', 'iothread-vq-mapping')).toBe(false);
  });
});
