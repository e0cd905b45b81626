/** Started by context.test.ts: starts one guest and says what processes there are, so that the test can compare them with this one. */
import { readFileSync } from 'node:fs';
import { connect } from '../../src/index.ts';

const [xmlPath = ''] = process.argv.slice(2);
await using connection = await connect('qemu:///embed');
await using guest = await connection.createDomain(readFileSync(xmlPath, 'utf8'));
process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
process.stdin.resume();
await new Promise((resolve) => process.stdin.once('end', resolve));
await guest.destroy();
