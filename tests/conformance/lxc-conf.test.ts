/** The outside referee for native LXC configurations: what libvirt's `domxml-from-native lxc-tools` makes of them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../src/core/errors.ts';
import { domainToLxc } from '../../src/driver/lxc/native/from-domain.ts';
import { lxcToDomain } from '../../src/driver/lxc/native/to-domain.ts';
import { formatDomain, parseDomain } from '../../src/model/domain/domain.ts';
import { CONFIGURATIONS } from './lxc-configurations.ts';

const UUID = 'c7a5fdbd-edaf-9455-926a-d65c16db1809';
const referee =
  process.env['NESTLING_REFEREE'] ?? resolve(fileURLToPath(new URL('../../', import.meta.url)), '../shared/referee');
const folder = join(referee, 'lxc-conf');

if (!existsSync(folder)) {
  process.stderr.write('\nSKIPPED, LOUDLY: no outside test data for LXC configurations (set NESTLING_REFEREE)\n\n');
}

/** Of one configuration; undefined where it is refused. */
function convert(text: string): string | undefined {
  try {
    const options = { uuid: UUID, randomBytes: (count: number) => new Uint8Array(count) };
    return formatDomain(lxcToDomain(text, options).domain);
  } catch (error) {
    if (error instanceof VirtError) return undefined;
    throw error;
  }
}

describe('the way back', () => {
  const given = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.config')) : [];
  const texts = {
    ...CONFIGURATIONS,
    ...Object.fromEntries(given.map((file) => [file, readFileSync(join(folder, file), 'utf8')])),
  };

  it.each(Object.entries(texts))('%s: the definition as a configuration is the same definition', (_, text) => {
    const xml = convert(text);
    if (xml === undefined) return;
    const { text: back, notes } = domainToLxc(parseDomain(xml).domain);
    expect(notes).toEqual([]);
    expect(convert(back)).toBe(xml);
    // And that is the same configuration for ever.
    expect(domainToLxc(parseDomain(convert(back) ?? '').domain).text).toBe(back);
  });
});

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

  const definitions = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.xml')) : [];

  it.each(definitions)('%s is written as it was read', (file) => {
    const text = readFileSync(join(folder, file), 'utf8');
    const { domain, warnings } = parseDomain(text);
    expect(warnings).toEqual([]);
    expect(formatDomain(domain)).toBe(text);
  });
});
