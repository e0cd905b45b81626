/** Starts a container that would run for long, tells its first process, and waits to be killed. */
import { startBox } from './container-box.ts';

const [folder = '', rootfs = '', devices = ''] = process.argv.slice(2);
const box = await startBox({ folder, rootfs, line: 'sleep 1000', devices });
process.stdout.write(`${box.initPid}\n`);
await box.ended;
