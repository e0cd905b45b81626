/** The outside referee for native LXC configurations: what libvirt's `domxml-from-native lxc-tools` makes of them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { lxcToDomain } from '../../src/driver/lxc/native/to-domain.ts';
import { formatDomain } from '../../src/model/domain/domain.ts';

const referee =
  process.env['NESTLING_REFEREE'] ?? resolve(fileURLToPath(new URL('../../', import.meta.url)), '../shared/referee');
const folder = join(referee, 'lxc-conf');

if (!existsSync(folder)) {
  process.stderr.write('\nSKIPPED, LOUDLY: no outside test data for LXC configurations (set NESTLING_REFEREE)\n\n');
}

describe.skipIf(!existsSync(folder))('native LXC configurations', () => {
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.config')) : [];

  it.each(files)('%s becomes the definition that libvirt makes of it', (file) => {
    const expected = readFileSync(join(folder, `${file.replace(/(-v3)?\.config$/, '')}.xml`), 'utf8');
    const uuid = /<uuid>(.*)<\/uuid>/.exec(expected)?.[1] ?? '';
    const { domain } = lxcToDomain(readFileSync(join(folder, file), 'utf8'), {
      uuid,
      randomBytes: (count) => new Uint8Array(count),
    });
    expect(formatDomain(domain)).toBe(expected);
  });
});
