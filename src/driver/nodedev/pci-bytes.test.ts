import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readPciConfig } from './pci-config.ts';
import { readVpd } from './pci-vpd.ts';

/** A configuration space with one list of capabilities. */
function config(size: number, ...capabilities: readonly [at: number, id: number, next: number][]): Buffer {
  const bytes = Buffer.alloc(size);
  bytes[0x06] = capabilities.length > 0 ? 0x10 : 0;
  bytes[0x34] = capabilities[0]?.[0] ?? 0;
  for (const [at, id, next] of capabilities) bytes.set([id, next], at);
  return bytes;
}

describe('the configuration space', () => {
  it('tells conventional devices from express ones', () => {
    expect(readPciConfig(config(256))).toEqual({ header: 'endpoint', express: undefined });
    expect(readPciConfig(config(4096))?.express).toEqual([]);
    const linked = config(256, [0x40, 0x01, 0x50], [0x50, 0x10, 0]);
    expect(readPciConfig(linked)?.express?.map(({ validity }) => validity)).toEqual(['cap', 'sta']);
    linked[0x52] = 0x90;
    expect(readPciConfig(linked)?.express).toEqual([]);
  });

  it('ends where a list of capabilities does not', () => {
    expect(readPciConfig(config(256, [0x40, 0x01, 0x50], [0x50, 0x05, 0x40]))?.express).toBeUndefined();
  });

  it('is read without fail, whatever is in it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        readPciConfig(bytes);
        readVpd(Buffer.from(bytes));
      }),
      { numRuns: 300 },
    );
  });
});
