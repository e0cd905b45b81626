import { describe, expect, it } from 'vitest';
import { type ForeignFacts, planForeignRun, registeringHook, runnableArchitectures } from './foreign.ts';

const FACTS: ForeignFacts = {
  machine: 'x86_64',
  kernel: '6.8.0',
  hasBinfmtMisc: true,
  emulators: { aarch64: '/usr/bin/qemu-aarch64-static', arm: '/usr/bin/qemu-arm-static' },
  registered: ['s390x'],
  runs32Bit: true,
};

describe('programs of an architecture', () => {
  it('run natively where the processor has them, the 32-bit kin under its own name', () => {
    expect(planForeignRun('x86_64', FACTS)).toEqual({});
    expect(planForeignRun('i686', FACTS)).toEqual({ personality: 'LINUX32' });
    const arm = { ...FACTS, machine: 'aarch64' };
    expect(planForeignRun('armv7l', arm)).toEqual({ personality: 'LINUX32' });
    // Many such processors have no 32-bit mode.
    expect(planForeignRun('armv7l', { ...arm, runs32Bit: false }).register).toMatch(/qemu-arm-static:OCF$/);
  });

  it("run by the host's registration where there is one, else by their own", () => {
    expect(planForeignRun('s390x', FACTS)).toEqual({});
    expect(planForeignRun('aarch64', FACTS).register).toMatch(
      /^:qemu-aarch64:M:.*:\/usr\/bin\/qemu-aarch64-static:OCF$/,
    );
  });

  it.each([
    [
      'riscv64',
      {},
      /<os><type arch='riscv64'>: no statically linked qemu-riscv64 .*install the package qemu-user-static/,
    ],
    ['aarch64', { kernel: '6.1.0' }, /Linux 6\.1\.0 cannot .*6\.7 and later.*binfmt-support/],
    ['aarch64', { hasBinfmtMisc: false }, /no binfmt_misc; load it/],
    ['vax', {}, /<os><type arch='vax'>: no emulator runs programs/],
  ])('%s with %j is refused with what helps', (arch, other, message) => {
    expect(() => planForeignRun(arch, { ...FACTS, ...other })).toThrow(message);
  });

  it('are listed by the names of definitions', () => {
    const known = ['aarch64', 'arm', 'riscv64', 's390x', 'i386', 'aarch64'];
    expect(runnableArchitectures(FACTS, known)).toEqual(['x86_64', 'i686', 'aarch64', 'armv7l', 's390x']);
    expect(runnableArchitectures({ ...FACTS, kernel: '5.10' }, known)).toEqual(['x86_64', 'i686', 's390x']);
  });
});

it('words of the definition and folder are arguments of the hook, never parts of its script', () => {
  const { args } = registeringHook(':a$(b):', '/run/x y/emulation');
  expect(args.slice(3)).toEqual([':a$(b):', expect.stringContaining('mount -t binfmt_misc'), '/run/x y/emulation']);
  expect(args[2]).not.toMatch(/x y|a\$\(b\)/);
});
