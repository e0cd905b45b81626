/** The capability documents of this host's QEMUs, and how they compare with those of libvirt where it is installed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CapabilitiesCache } from '../../src/driver/qemu/capabilities/cache.ts';
import { formatCapabilities } from '../../src/driver/qemu/capabilities/capabilities-xml.ts';
import { formatDomainCapabilities } from '../../src/driver/qemu/capabilities/domain-capabilities-xml.ts';
import type { XmlElement } from '../../src/xml/node.ts';
import { parseXml } from '../../src/xml/parse.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const LIBVIRT_DRIVER = '/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so';
const present = existsSync(QEMU);
const comparable = present && existsSync('/usr/bin/virsh') && existsSync(LIBVIRT_DRIVER) && process.getuid?.() === 0;
if (!present) process.stderr.write(`SKIPPED: ${QEMU} is not installed (Debian package qemu-system-x86)\n`);
else if (!comparable) process.stderr.write('SKIPPED: the comparison needs root, libvirt-clients and libvirt-daemon\n');

let dir: string;
let cache: CapabilitiesCache;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
  cache = new CapabilitiesCache({ dir: join(dir, 'cache') });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function virsh(...args: string[]): XmlElement {
  const { stdout, stderr } = spawnSync('virsh', ['-c', `qemu:///embed?root=${join(dir, 'libvirt')}`, ...args], {
    encoding: 'utf8',
  });
  if (stdout.trim() === '') throw new Error(stderr);
  return parseXml(stdout.trim()).root;
}

describe.skipIf(!present)('capabilities', () => {
  it('list every QEMU with its machines', async () => {
    const { root } = parseXml(await formatCapabilities(cache));
    const x86 = archOf(root, 'x86_64');
    expect(x86?.element('emulator')?.text).toBe(QEMU);
    expect(x86?.elements('machine').some((machine) => machine.text === 'q35')).toBe(true);
    expect(root.element('host')?.element('cpu')?.element('topology')?.attribute('threads')).toMatch(/^\d+$/);
  });

  it.skipIf(!comparable)('agree with libvirt on machines, topology and architectures', async () => {
    const ours = parseXml(await formatCapabilities(cache)).root;
    const theirs = virsh('capabilities');
    const archs = (root: XmlElement) => root.elements('guest').map((guest) => guest.element('arch')?.attribute('name'));
    expect(archs(ours)).toEqual(archs(theirs));
    for (const name of archs(theirs)) {
      expect(machinesOf(archOf(ours, name))).toEqual(machinesOf(archOf(theirs, name)));
    }
    const cells = (root: XmlElement) => leaves(root.element('host')?.element('topology'), /^(?!.*pages)/);
    expect(cells(ours)).toEqual(cells(theirs));
  });
});

describe.skipIf(!present)('domain capabilities', () => {
  it.skipIf(!comparable)('agree with libvirt on what it knows', async () => {
    const ours = parseXml(await formatDomainCapabilities(cache, { virttype: 'qemu', machine: 'q35' })).root;
    const theirs = virsh('domcapabilities', '--virttype', 'qemu', '--machine', 'q35');
    const mine = new Set(leaves(ours, COMPARED));
    const missing = leaves(theirs, COMPARED).filter((leaf) => !mine.has(leaf));
    expect(missing).toEqual([]);
  });

  it('name the emulator that was asked for', async () => {
    const xml = await formatDomainCapabilities(cache, { emulator: QEMU, virttype: 'qemu' });
    expect(parseXml(xml).root.element('path')?.text).toBe(QEMU);
  });
});

/** Not the host model, which libvirt composes from processor definitions of its own, nor what only its driver does. */
const COMPARED = /^(?!.*(?:host-model|backup))/;

function archOf(root: XmlElement, name: string | undefined): XmlElement | undefined {
  const archs = root.elements('guest').map((guest) => guest.element('arch'));
  return archs.find((arch) => arch?.attribute('name') === name);
}

function machinesOf(arch: XmlElement | undefined): string[] {
  const text = (machine: XmlElement) =>
    `${machine.text} ${machine.attribute('canonical')} ${machine.attribute('maxCpus')}`;
  return [...new Set(arch?.elements('machine').map(text))].sort();
}

/** Every element without elements, as its path with attributes and its text, if the path is wanted. */
function leaves(element: XmlElement | undefined, wanted: RegExp, above = ''): string[] {
  if (element === undefined) return [];
  const attributes = element.attributes.filter(({ name }) => name !== 'canonical');
  const path = `${above}/${[element.name, ...attributes.map(({ name, value }) => `${name}=${value}`)].join(' ')}`;
  const children = element.elements();
  if (children.length > 0) return children.flatMap((child) => leaves(child, wanted, path));
  return wanted.test(path) ? [`${path} ${element.text.trim()}`] : [];
}
