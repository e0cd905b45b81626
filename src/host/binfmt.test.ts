/** Which programs run how: the table against the kernel's rules and real headers, the decision for each kind of host. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  architectureOfElf,
  type BinfmtFacts,
  isEmulatedArchitecture,
  magicOf,
  planForeign,
  readBinfmtFacts,
  registrationLine,
} from './binfmt.ts';

const HOST: BinfmtFacts = {
  machine: 'x86_64',
  kernel: '6.8.0-1-cloud',
  hasBinfmtMisc: true,
  emulators: { aarch64: '/usr/bin/qemu-aarch64-static' },
  registered: [],
};

const scratch = mkdtempSync(join(tmpdir(), 'binfmt-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('what a program is made for', () => {
  it('is in its first bytes, whatever its system and whether it is position independent', () => {
    const { magic } = magicOf('s390x');
    const shared = Uint8Array.from(magic);
    shared[17] = 3;
    shared[7] = 3;
    expect(architectureOfElf(magic)).toBe('s390x');
    expect(architectureOfElf(shared)).toBe('s390x');
    expect(architectureOfElf(Buffer.from('#!/bin/sh\n# a script is no program\n'))).toBeUndefined();
    expect(architectureOfElf(magic.subarray(0, 10))).toBeUndefined();
  });

  it('differs between any two architectures', () => {
    const names = [
      'aarch64',
      'arm',
      'armeb',
      'mips',
      'mipsel',
      'mips64',
      'mips64el',
      'ppc',
      'ppc64',
      'ppc64le',
      'i386',
      'x86_64',
    ] as const;
    expect(names.map((name) => architectureOfElf(magicOf(name).magic))).toEqual(names);
  });
});

describe('how programs come to run', () => {
  it.each([
    ['its own', 'x86_64', HOST, { kind: 'native' }],
    ['the 32-bit ones of a 64-bit host', 'i386', HOST, { kind: 'native' }],
    ['registered by the host', 'riscv64', { ...HOST, registered: ['riscv64'] as const }, { kind: 'registered' }],
    ['with a kernel that can do it for one alone', 'aarch64', HOST, { kind: 'private' }],
    ['without an emulator', 's390x', HOST, { kind: 'impossible', fix: 'install the package qemu-user-static' }],
    ['without binfmt_misc', 'aarch64', { ...HOST, hasBinfmtMisc: false }, { kind: 'impossible' }],
    ['with an older kernel', 'aarch64', { ...HOST, kernel: '6.1.0-9' }, { kind: 'impossible' }],
    ['with 6.7 itself', 'aarch64', { ...HOST, kernel: '6.7.0' }, { kind: 'private' }],
    ['with 10.0', 'aarch64', { ...HOST, kernel: '10.0' }, { kind: 'private' }],
  ] as const)('%s', (_, wanted, facts, plan) => {
    expect(planForeign(wanted, facts)).toMatchObject(plan);
  });

  it('registers for the host only when that was allowed and is the only way', () => {
    const old = { ...HOST, kernel: '5.15.0' };
    expect(planForeign('aarch64', old, { registerOnHost: true }).kind).toBe('host');
    expect(planForeign('aarch64', HOST, { registerOnHost: true }).kind).toBe('private');
    const refused = planForeign('aarch64', old);
    expect(refused.kind === 'impossible' && `${refused.reason}; ${refused.fix}`).toBe(
      'Linux 5.15.0 cannot register an emulator for one container alone (6.7 and later can); ' +
        'register it for the whole host: --register-binfmt, or install the package binfmt-support',
    );
  });

  it('is a line as the kernel takes it, of at most its 1920 bytes', () => {
    const line = registrationLine('aarch64', '/usr/bin/qemu-aarch64-static');
    expect(line).toBe(
      ':qemu-aarch64:M::\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00' +
        ':\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff' +
        ':/usr/bin/qemu-aarch64-static:OCF',
    );
    expect(registrationLine('arm', '/usr/libexec/qemu-binfmt/arm-binfmt-P')).toMatch(/:POCF$/);
  });
});

describe('facts of a host', () => {
  it('counts only registrations that hold in any root, and only static emulators', () => {
    const proc = join(scratch, 'proc');
    const folder = join(proc, 'sys/fs/binfmt_misc');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(proc, 'filesystems'), 'nodev\tproc\nnodev\tbinfmt_misc\n');
    writeFileSync(join(folder, 'status'), 'enabled\n');
    const entry = (flags: string, name: 'aarch64' | 's390x' | 'ppc64le'): string =>
      `enabled\ninterpreter /x\nflags: ${flags}\noffset 0\nmagic ${Buffer.from(magicOf(name).magic).toString('hex')}\nmask ff\n`;
    writeFileSync(join(folder, 'anything'), entry('POCF', 's390x'));
    writeFileSync(join(folder, 'needs-qemu-inside'), entry('OC', 'aarch64'));
    writeFileSync(join(folder, 'off'), entry('F', 'ppc64le').replace('enabled', 'disabled'));
    const bin = join(scratch, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'qemu-hppa-static'), '#!/bin/sh\n', { mode: 0o755 });
    const facts = readBinfmtFacts({
      proc,
      binfmtDir: join(scratch, 'none'),
      path: bin,
      machine: 'x86_64',
      kernel: '6.8',
    });
    expect(facts).toMatchObject({ hasBinfmtMisc: true, registered: ['s390x'] });
    expect(facts.emulators['hppa']).toBeUndefined();
  });

  it('is nothing where nothing is', () => {
    expect(readBinfmtFacts({ proc: join(scratch, 'nowhere'), kernel: 'none' })).toMatchObject({
      hasBinfmtMisc: false,
      registered: [],
    });
    expect(isEmulatedArchitecture('toString')).toBe(false);
  });
});
