import { describe, expect, it } from 'vitest';
import { type NetworkOwner, settingsProgram } from './settings-program.ts';

describe('the program for kernel settings', () => {
  it.each<[string, NetworkOwner, boolean]>([
    ['net/ipv4/ip_forward', 'own', true],
    ['net/ipv4/ip_forward', 'host', false],
    ['net/ipv6/conf/a-name-that-is-longer-than-what-is-copied/accept_ra', 'own', true],
    ['netx', 'own', false],
    ['fs/net/x', 'own', false],
    ['kernel/core_pattern', 'own', false],
    ['kernel/panic', 'host', false],
    ['user/max_user_namespaces', 'own', false],
    ['vm/overcommit_memory', 'own', false],
    ['', 'own', false],
  ])('%s, with the network %s: %s', (name, network, allowed) => {
    const program = settingsProgram(network);
    expect(run(program, name, true)).toBe(allowed);
    expect(run(program, name, false)).toBe(true);
  });
});

const STACK = 512;
/** Where nothing can be written. */
const CONTEXT = -1;

/** The machine of the kernel, as far as this program uses it. */
function run(program: string, name: string, isWrite: boolean): boolean {
  const bytes = Buffer.from(program, 'hex');
  // What nobody has written there is not zero.
  const stack = Buffer.alloc(STACK, 0x2f);
  const registers = Array.from({ length: 11 }, () => 0);
  registers[1] = CONTEXT;
  registers[10] = STACK;
  for (let at = 0; ; at++) {
    const [code, both] = [bytes.readUInt8(at * 8), bytes.readUInt8(at * 8 + 1)];
    const [dst, src] = [both & 0xf, both >> 4];
    const [offset, immediate] = [bytes.readInt16LE(at * 8 + 2), bytes.readInt32LE(at * 8 + 4)];
    if (code === 0x61 && src === 1) registers[dst] = isWrite ? 1 : 0;
    else if (code === 0x61) registers[dst] = stack.readUInt32LE(registers[src]! + offset);
    else if (code === 0x7a) stack.writeBigInt64LE(BigInt(immediate), registers[dst]! + offset);
    else if (code === 0xbf) registers[dst] = registers[src]!;
    else if (code === 0xb7) registers[dst] = immediate;
    else if (code === 0x07) registers[dst]! += immediate;
    else if (code === 0x56) at += registers[dst] === immediate ? 0 : offset;
    else if (code === 0x85) {
      expect([immediate, registers[1], registers[4]]).toEqual([101, CONTEXT, 0]);
      const size = registers[3]!;
      Buffer.from(`${name.slice(0, size - 1)}\0`).copy(stack, registers[2]);
    } else if (code === 0x95) return registers[0] === 1;
    else throw new Error(`opcode ${code.toString(16)}`);
  }
}
