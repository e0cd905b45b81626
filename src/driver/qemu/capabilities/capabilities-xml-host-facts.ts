/** Reads what capabilities of virtual machines tell about the host's processor, besides what all drivers tell (`src/guest/host-description.ts`). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DescriptionRoots, readHostDescription } from '../../../guest/host-description.ts';
import { hostArch } from '../../../host/cpu.ts';
import { readHostFacts } from '../../../host/host-facts.ts';
import { readHostProcessor } from '../cpu/host-processor.ts';
import { archOfTarget, isX86Arch } from './capabilities-xml-arch.ts';
import type { CapabilitiesHost } from './capabilities-xml-host.ts';

/** Where to look; every default is the real host. */
export interface CapabilitiesRoots extends DescriptionRoots {
  readonly dev?: string;
}

export async function readCapabilitiesHost(roots: CapabilitiesRoots = {}): Promise<CapabilitiesHost> {
  const { proc = '/proc', sys = '/sys' } = roots;
  const target = hostArch();
  const addressBits = /^address sizes\s*: (\d+) bits physical/m.exec(readOr(join(proc, 'cpuinfo')))?.[1];
  const arch = archOfTarget(target)?.name ?? target;
  return {
    ...(await readHostDescription(roots)),
    ...(await readHostFacts(['cpu'], { proc, sys })),
    arch,
    processor: isX86Arch(arch)
      ? readHostProcessor({ proc, sys, ...(roots.dev === undefined ? {} : { dev: roots.dev }) })
      : undefined,
    physicalAddressBits: addressBits === undefined ? undefined : Number(addressBits),
  };
}

/** Not every /proc has it: no answer, not a fault. */
function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
