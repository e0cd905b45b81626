/**
 * Turns a recorded QMP dialogue into our capabilities JSON, with the code that also digests live replies, for
 * `nestling domxml-to-native --capabilities`. Machines go by their aliases (`pc`), as in libvirt's own expectations;
 * with --versioned they keep their own names (`pc-i440fx-10.0`). A development tool; not part of the package's API.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { capabilitiesFromDialogue, nameMachinesByAlias } from '../src/driver/qemu/capabilities/dialogue.ts';

const { values, positionals } = parseArgs({ options: { versioned: { type: 'boolean' } }, allowPositionals: true });
const [file, binary = '/usr/bin/qemu-system-x86_64'] = positionals;
if (file === undefined) {
  process.stderr.write('usage: capabilities-from-replies [--versioned] FILE [BINARY] > capabilities.json\n');
  process.exitCode = 2;
} else {
  const recorded = capabilitiesFromDialogue(binary, readFileSync(file, 'utf8'));
  const capabilities = values.versioned === true ? recorded : nameMachinesByAlias(recorded);
  process.stdout.write(`${JSON.stringify(capabilities)}\n`);
}
