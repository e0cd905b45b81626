/** Started and killed by kill.test.ts: one program after another's heart, with a guest and its helper process. */
import { readFileSync } from 'node:fs';
import { connect } from '../../src/index.ts';

const [xmlPath = ''] = process.argv.slice(2);
process.stdout.write('started\n');
await using connection = await connect('qemu:///embed');
process.stdout.write('connected\n');
await using guest = await connection.createDomain(readFileSync(xmlPath, 'utf8'));
process.stdout.write('running\n');
await guest.waitForStop();
