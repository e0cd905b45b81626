/** The path language, on a schema written for it. */
import { describe, expect, it } from 'vitest';
import { FEATURE_QUERIES } from './features.ts';
import { isSchemaEntity, SchemaQuery } from './schema-query.ts';

const SCHEMA = [
  { name: 'add', 'meta-type': 'command', 'arg-type': 'Opts', 'ret-type': '[Ret]', features: ['json-cli'] },
  { name: 'HAPPENED', 'meta-type': 'event', 'arg-type': 'Ret' },
  {
    name: 'Opts',
    'meta-type': 'object',
    tag: 'driver',
    members: [
      { name: 'driver', type: 'Driver' },
      { name: 'node', type: 'str', features: ['deprecated'] },
      { name: 'child', type: 'Alt' },
    ],
    variants: [
      { case: 'file', type: 'FileOpts' },
      { case: 'none', type: 'Empty' },
    ],
  },
  { name: 'Driver', 'meta-type': 'enum', values: ['file', 'none'] },
  { name: 'FileOpts', 'meta-type': 'object', members: [{ name: 'aio', type: 'Aio' }], features: ['dynamic'] },
  { name: 'Aio', 'meta-type': 'enum', values: ['threads', 'io_uring'] },
  { name: 'Empty', 'meta-type': 'object', members: [] },
  { name: 'Alt', 'meta-type': 'alternate', members: [{ type: 'Opts' }, { type: 'str' }] },
  { name: 'Ret', 'meta-type': 'object', members: [{ name: 'count', type: 'int' }] },
  { name: '[Ret]', 'meta-type': 'array', 'element-type': 'Ret' },
  { name: 'str', 'meta-type': 'builtin' },
];
const query = new SchemaQuery(SCHEMA);

describe('SchemaQuery', () => {
  it.each([
    'add',
    'HAPPENED',
    'HAPPENED/arg/count',
    'add/$json-cli',
    'add/arg/node',
    'add/arg/node/$deprecated',
    'add/arg/driver=file',
    'add/arg/driver=file/aio',
    'add/arg/driver=file/aio=io_uring',
    'add/arg/driver=file/node',
    'add/arg/driver=file/$dynamic',
    'add/arg/child/driver=file/aio=threads',
    'add/arg/child/child/child/node',
    'add/ret/count',
  ])('finds %s', (path) => expect(query.has(path)).toBe(true));

  it.each([
    'remove',
    'Opts',
    'add/$json-cli-hotplug',
    'add/arg/aio',
    'add/arg/driver=none/aio',
    'add/arg/driver=nbd',
    'add/arg/driver=file/aio=native',
    'add/arg/driver=none/$dynamic',
    'add/arg/driver/$deprecated',
    'add/ret/node',
    'HAPPENED/ret/count',
  ])('does not find %s', (path) => expect(query.has(path)).toBe(false));

  it('refuses a path without meaning', () => {
    expect(() => query.has('add/argument/node')).toThrow(RangeError);
  });

  it('lists commands and events', () => {
    expect(query.names('command')).toEqual(['add']);
    expect(query.names('event')).toEqual(['HAPPENED']);
  });

  it('tells entities from anything else', () => {
    expect(isSchemaEntity(SCHEMA[0])).toBe(true);
    for (const value of [null, 1, {}, { name: 'x' }, { name: 1, 'meta-type': 'enum' }])
      expect(isSchemaEntity(value)).toBe(false);
  });
});

describe('FEATURE_QUERIES', () => {
  it('holds only paths with a meaning', () => {
    // A schema in which every root exists, so that each path is looked at beyond its first part.
    const roots = Object.values(FEATURE_QUERIES).map((path) => path.split('/')[0] ?? '');
    const all = new SchemaQuery(roots.map((name) => ({ name, 'meta-type': 'command' })));
    for (const path of Object.values(FEATURE_QUERIES)) expect(() => all.has(path), path).not.toThrow();
  });
});
