/**
 * Gets the demo's guest ready: kernel and initramfs (cached), an empty disk, and the domain XML with their paths in it.
 * Arguments: the template, the directory to write to, the command that the guest is to run ('' for a shell).
 * Prints the path of the XML.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { escapeXml } from '../tests/support/domain-xml.ts';
import { LINUX_GUEST_CMDLINE, linuxGuest } from '../tests/support/guests/linux-guest.ts';

const [template = 'demo/guest.xml', into = '.cache/demo', command = ''] = process.argv.slice(2);
const directory = resolve(into);
mkdirSync(directory, { recursive: true });
const disk = join(directory, 'disk.qcow2');
execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '64M']);
const { kernel, initrd } = await linuxGuest();
const run = command === '' ? ' nestling.login' : ` nestling.run="${command}"`;
const values: Readonly<Record<string, string>> = {
  KERNEL: kernel,
  INITRD: initrd,
  CMDLINE: `${LINUX_GUEST_CMDLINE} nestling.net=dhcp${run}`,
  DISK: disk,
};
const [comment = '', ...xml] = readFileSync(template, 'utf8').split('\n');
const text = xml.join('\n').replace(/\$\{([A-Z]+)\}/g, (_, name: string) => escapeXml(values[name] ?? ''));
if (!comment.startsWith('<!--'))
  throw new Error(`fill in ${template}: its first line is not the comment that is left out here`);
const path = join(directory, 'guest.xml');
writeFileSync(path, text);
process.stdout.write(`${path}\n`);
