/** The library example of the README, run as it stands: only `xml` and the package's name are supplied. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bundleScript } from '../support/bundle.ts';
import { domainXml } from '../support/domain-xml.ts';
import { LINUX_GUEST_CMDLINE, linuxGuest } from '../support/guests/linux-guest.ts';

it('the README’s ten lines do what they say', async () => {
  const root = new URL('../../', import.meta.url).pathname;
  const [, example = ''] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
  expect(example).toContain("from 'nestling'");
  const linux = await linuxGuest();
  const cmdline = `${LINUX_GUEST_CMDLINE} nestling.run="printf 'debian login:'; read name; echo hello \\$name"`;
  const xml = domainXml({ name: 'readme', memoryMiB: 192, ...linux, cmdline });
  const dir = mkdtempSync(join(tmpdir(), 'readme-'));
  try {
    const script = join(dir, 'example.ts');
    const source = example.replace("'nestling'", JSON.stringify(join(root, 'src/index.ts')));
    writeFileSync(
      script,
      `${source.replace('await using conn', `const xml = ${JSON.stringify(xml)};\nawait using conn`)}\nconsole.log('done');\n`,
    );
    const output = execFileSync(process.execPath, [await bundleScript(script)], { encoding: 'utf8', timeout: 90_000 });
    expect(output).toBe('done\n');
  } finally {
    rmSync(dir, { recursive: true });
  }
});
