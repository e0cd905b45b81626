/** Started and killed by container-kill.test.ts: starts and ends a container from one definition, again and again, telling where it is. */
import { readFileSync } from 'node:fs';
import { connect } from '../../src/index.ts';

const [xmlPath = ''] = process.argv.slice(2);
const tell = (stage: string): void => void process.stdout.write(`${stage}\n`);
tell('started');
await using connection = await connect('lxc:///embed');
const xml = readFileSync(xmlPath, 'utf8');
for (;;) {
  tell('starting');
  const domain = await connection.createDomain(xml);
  tell('running');
  await domain.exec(['true']);
  tell('ending');
  await domain.destroy();
}
