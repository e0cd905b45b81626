/**
 * Turns a recorded QMP dialogue into our capabilities JSON, with the code that also digests live replies.
 * Usage: capabilities-from-replies FILE [BINARY] > capabilities.json. A development tool; not part of the package's API.
 */
import { readFileSync } from 'node:fs';
import { capabilitiesFromDialogue } from '../src/driver/qemu/capabilities/dialogue.ts';

const [file, binary] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write('usage: capabilities-from-replies FILE [BINARY] > capabilities.json\n');
  process.exitCode = 2;
} else {
  const capabilities = capabilitiesFromDialogue(binary ?? '/usr/bin/qemu-system-x86_64', readFileSync(file, 'utf8'));
  process.stdout.write(`${JSON.stringify(capabilities)}\n`);
}
