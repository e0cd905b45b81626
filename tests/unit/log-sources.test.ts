/** A filter for a source is a promise that there is something to let through: every source in the list speaks somewhere. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LOG_SOURCES } from '../../src/core/log-source.ts';

const SRC = new URL('../../src/', import.meta.url);
/** Taught by troubleshooting texts, for drivers that are yet to come: a filter on them is no mistake. */
const RESERVED = ['lxc.lxc_container', 'lxc.lxc_driver', 'storage.storage_driver'];

it('every source is used', () => {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => /(?<!\.test)\.ts$/.test(name));
  const text = files.map((name) => readFileSync(new URL(name, SRC), 'utf8')).join('\n');
  const silent = LOG_SOURCES.filter((name) => !text.includes(`new LogSource('${name}')`));
  expect(silent.filter((name) => !RESERVED.includes(name))).toEqual([]);
});
