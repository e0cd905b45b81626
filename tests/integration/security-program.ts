/** Started and killed by security-labels.test.ts: a guest of another user whose disk belongs to that user meanwhile. */
import { readFileSync } from 'node:fs';
import { connect } from '../../src/index.ts';

const [xmlPath = '', config = '{}'] = process.argv.slice(2);
await using connection = await connect('qemu:///embed', { config: JSON.parse(config) });
await using guest = await connection.createDomain(readFileSync(xmlPath, 'utf8'));
process.stdout.write('running\n');
process.stdin.resume();
await new Promise((resolve) => process.stdin.once('end', resolve));
await guest.destroy();
