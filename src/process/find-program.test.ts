import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { debianPackageOf } from './debian-package.ts';
import { findProgram, lookUpAgain, lookUpProgram } from './find-program.ts';
import { ProcessError } from './process-error.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-find-'));
  mkdirSync(join(root, 'qemu-system-folder'));
  writeFileSync(join(root, 'qemu-system-s390x'), '#!/bin/sh\n');
  chmodSync(join(root, 'qemu-system-s390x'), 0o755);
  writeFileSync(join(root, 'swtpm'), 'not executable');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const caught = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};

test('finds along PATH, by path, relative to a folder, and in the sbin folders', () => {
  expect(findProgram('qemu-system-s390x', { path: `/nowhere:${root}` })).toBe(join(root, 'qemu-system-s390x'));
  expect(findProgram('./qemu-system-s390x', { cwd: root })).toBe(join(root, 'qemu-system-s390x'));
  expect(findProgram('sh', { path: '' })).toMatch(/\/bin\/sh$/);
  expect(lookUpProgram('no-such-program-x')).toBeUndefined();
  expect(lookUpProgram('')).toBeUndefined();
});

test('one that is asked for again is found where it was, or anew where it is not', () => {
  const path = process.env['PATH'];
  try {
    process.env['PATH'] = root;
    expect(lookUpAgain('again')).toBeUndefined();
    const [first, second] = [join(root, 'again'), join(root, 'qemu-system-folder/again')];
    for (const file of [first, second]) writeFileSync(file, '', { mode: 0o755 });
    expect([lookUpAgain('again'), lookUpAgain('again')]).toEqual([first, first]);
    process.env['PATH'] = join(root, 'qemu-system-folder');
    expect(lookUpAgain('again')).toBe(second);
    process.env['PATH'] = root;
    chmodSync(first, 0o644);
    expect(lookUpAgain('again')).toBeUndefined();
  } finally {
    process.env['PATH'] = path;
  }
});

test('a missing program is named with its package', () => {
  const error = caught(() => findProgram('qemu-system-riscv64', { path: root }));
  if (error instanceof ProcessError) {
    expect(error).toMatchObject({ operation: 'find', errno: 'ENOENT', debianPackage: 'qemu-system-misc' });
    expect(error.message).toBe(
      'cannot run qemu-system-riscv64: no such program in PATH (Debian package qemu-system-misc)',
    );
  } else {
    // The machine really has it, in one of the fallback folders.
    expect(error).toMatch(/qemu-system-riscv64$/);
  }
  expect(caught(() => findProgram('/nowhere/own-tool'))).toMatchObject({
    message: 'cannot run /nowhere/own-tool: no such program',
    debianPackage: undefined,
  });
});

test('a file that is not executable, or a folder, is not a program', () => {
  expect(caught(() => findProgram(join(root, 'swtpm')))).toMatchObject({ errno: 'EACCES', debianPackage: 'swtpm' });
  expect(caught(() => findProgram(join(root, 'qemu-system-folder')))).toMatchObject({ errno: 'EACCES' });
});

test.skipIf(process.getuid?.() === 0)(
  'a folder that may not be searched does not make a missing program a forbidden one',
  () => {
    mkdirSync(join(root, 'private'), { mode: 0 });
    expect(caught(() => findProgram('no-such-program-x', { path: join(root, 'private') }))).toMatchObject({
      errno: 'ENOENT',
    });
    expect(caught(() => findProgram(join(root, 'private/x')))).toMatchObject({ errno: 'EACCES' });
  },
);

test.each([
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['/usr/bin/qemu-system-i386', 'qemu-system-x86'],
  ['qemu-system-aarch64', 'qemu-system-arm'],
  ['qemu-system-ppc64', 'qemu-system-ppc'],
  ['qemu-system-mips64el', 'qemu-system-mips'],
  ['qemu-system-sparc64', 'qemu-system-sparc'],
  ['qemu-system-s390x', 'qemu-system-misc'],
  ['setpriv', 'util-linux'],
  ['constructor', undefined],
])('%s comes with %s', (program, expected) => {
  expect(debianPackageOf(program)).toBe(expected);
});
