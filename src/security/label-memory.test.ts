import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HeldFile, holdFile } from './held-file.ts';
import { xattrMemory } from './label-memory.ts';
import { type XattrBackend, XattrError } from './xattr.ts';

let folder: string;
let file: HeldFile;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'memory-'));
  writeFileSync(join(folder, 'disk'), '');
  const held = holdFile(join(folder, 'disk'));
  if (held === undefined) throw new Error('no file');
  file = held;
});
afterAll(() => {
  file[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** Attributes of one file; `dieAfter` writes the program is killed. */
function fakeXattrs(): { backend: XattrBackend; values: Map<string, string>; dieAfter: (writes: number) => void } {
  const values = new Map<string, string>();
  let left = Number.POSITIVE_INFINITY;
  const write = (): void => {
    if (left-- <= 0) throw new RangeError('killed');
  };
  const backend: XattrBackend = {
    get: (_, name) => {
      const value = values.get(name);
      return value === undefined ? undefined : Buffer.from(value);
    },
    set: (_, name, value) => {
      write();
      values.set(name, Buffer.from(value).toString());
    },
    remove: (_, name) => {
      write();
      values.delete(name);
    },
  };
  return { backend, values, dieAfter: (writes) => void (left = writes) };
}

it("keeps what libvirt keeps, under libvirt's names", () => {
  const { backend, values } = fakeXattrs();
  const memory = xattrMemory({ xattrs: backend, bootTime: 1000 });
  expect(memory.hold(file, 'dac', '+0:+0', 'a')).toBe(1);
  expect(memory.hold(file, 'dac', '+107:+107', 'b')).toBe(2);
  expect(memory.hold(file, 'dac', '+107:+107', 'b')).toBe(2);
  expect(Object.fromEntries(values)).toEqual({
    'trusted.libvirt.security.dac': '+0:+0',
    'trusted.libvirt.security.ref_dac': '2',
    'trusted.libvirt.security.timestamp_dac': '1000',
    'trusted.nestling.security.holders_dac': 'a,b',
  });
  expect(memory.release(file, 'dac', 'a')).toEqual({ kind: 'in use' });
  expect(memory.release(file, 'dac', 'a')).toEqual({ kind: 'in use' });
  expect(memory.release(file, 'dac', 'b')).toEqual({ kind: 'last', before: '+0:+0' });
  expect(values.size).toBe(0);
  expect(memory.release(file, 'dac', 'b')).toEqual({ kind: 'unknown' });
});

it("counts together with libvirt's guests", () => {
  const { backend, values } = fakeXattrs();
  const memory = xattrMemory({ xattrs: backend, bootTime: 1000 });
  values.set('trusted.libvirt.security.dac', '+5:+5');
  values.set('trusted.libvirt.security.ref_dac', '1');
  values.set('trusted.libvirt.security.timestamp_dac', '1001');
  expect(memory.hold(file, 'dac', '+107:+107', 'a')).toBe(2);
  expect(memory.release(file, 'dac', 'a')).toEqual({ kind: 'in use' });
  expect(values.get('trusted.libvirt.security.ref_dac')).toBe('1');
});

it('forgets what an earlier life of the host has left', () => {
  const { backend, values } = fakeXattrs();
  xattrMemory({ xattrs: backend, bootTime: 1000 }).hold(file, 'dac', '+5:+5', 'old');
  const memory = xattrMemory({ xattrs: backend, bootTime: 9000 });
  expect(memory.hold(file, 'dac', '+0:+0', 'new')).toBe(1);
  expect(values.get('trusted.libvirt.security.dac')).toBe('+0:+0');
  expect(memory.release(file, 'dac', 'old')).toEqual({ kind: 'in use' });
});

describe('where attributes cannot be had', () => {
  it.each(['ENOTSUP', 'EPERM'])('nothing is remembered (%s)', (errno) => {
    const refuse = (): never => {
      throw new XattrError('read', '/x', 'name', errno);
    };
    const memory = xattrMemory({ xattrs: { get: refuse, set: refuse, remove: refuse }, bootTime: 1 });
    expect(memory.hold(file, 'dac', '+0:+0', 'a')).toBeUndefined();
    expect(memory.release(file, 'dac', 'a')).toEqual({ kind: 'unknown' });
  });

  it('other errors are told', () => {
    const refuse = (): never => {
      throw new XattrError('read', '/x', 'name', 'EIO');
    };
    const memory = xattrMemory({ xattrs: { get: refuse, set: refuse, remove: refuse }, bootTime: 1 });
    expect(() => memory.hold(file, 'dac', '+0:+0', 'a')).toThrow(/cannot remember the label of '.*disk': EIO/);
  });
});

it('whoever is killed at whatever moment, the last to leave gets the first label', () => {
  const step = fc.record({
    holder: fc.constantFrom('a', 'b', 'c'),
    dieAfter: fc.option(fc.nat(4), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const { backend, values, dieAfter } = fakeXattrs();
      const memory = xattrMemory({ xattrs: backend, bootTime: 1000 });
      const alive = new Set<string>();
      const killed = new Set<string>();
      for (const { holder, dieAfter: writes } of steps) {
        if (alive.has(holder) || killed.has(holder)) continue;
        dieAfter(writes ?? Number.POSITIVE_INFINITY);
        try {
          memory.hold(file, 'dac', '+0:+0', holder);
          alive.add(holder);
        } catch {
          killed.add(holder);
        }
        dieAfter(Number.POSITIVE_INFINITY);
      }
      // The collector takes the killed ones out, twice.
      for (const holder of [...killed, ...killed]) {
        const { kind } = memory.release(file, 'dac', holder);
        if (alive.size > 0) expect(kind).toBe('in use');
      }
      const order = [...alive];
      order.forEach((holder, index) => {
        const found = memory.release(file, 'dac', holder);
        expect(found).toEqual(index < order.length - 1 ? { kind: 'in use' } : { kind: 'last', before: '+0:+0' });
      });
      expect(values.size).toBe(0);
    }),
    { numRuns: 300 },
  );
});
