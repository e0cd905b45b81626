/** What a PCI device's configuration space says: kind of header and PCI Express link. Pure; only root reads more than 64 bytes of it. */
import type { PciLinkXml } from '../../model/node-device.ts';

export interface PciConfig {
  readonly header: 'endpoint' | 'pci-bridge' | 'cardbus-bridge';
  /** Undefined: no PCI Express device. Empty: one that is part of the root complex and has no link. */
  readonly express: PciLinkXml[] | undefined;
}

const HEADERS = ['endpoint', 'pci-bridge', 'cardbus-bridge'] as const;
const HEADER_TYPE = 0x0e;
const STATUS = 0x06;
const STATUS_HAS_CAPABILITIES = 0x10;
const FIRST_CAPABILITY = 0x34;
const FIRST_CAPABILITY_CARDBUS = 0x14;
const EXPRESS = 0x10;
/** Size of the configuration space without PCI Express. */
const CONVENTIONAL_BYTES = 256;
/** Kinds of PCI Express devices that are inside the root complex. */
const LINKLESS: readonly number[] = [0x9, 0xa];
/** GT/s by the number of the generation. */
const SPEEDS = [undefined, '2.5', '5', '8', '16', '32', '64'];

export function readPciConfig(bytes: Uint8Array): PciConfig | undefined {
  if (bytes.length < 64) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = HEADERS[view.getUint8(HEADER_TYPE) & 0x7f] ?? 'endpoint';
  const at = findExpress(view, header === 'cardbus-bridge' ? FIRST_CAPABILITY_CARDBUS : FIRST_CAPABILITY);
  // Devices of virtual machines may have a large configuration space and no list of capabilities: libvirt takes them for express.
  const isLarge = bytes.length > CONVENTIONAL_BYTES;
  return { header, express: at === undefined ? (isLarge ? [] : undefined) : readLinks(view, at) };
}

function findExpress(view: DataView, first: number): number | undefined {
  if ((view.getUint16(STATUS, true) & STATUS_HAS_CAPABILITIES) === 0) return undefined;
  const seen = new Set<number>();
  let at = view.getUint8(first) & ~3;
  // Broken devices have lists that never end.
  while (at >= 64 && at + 20 <= view.byteLength && !seen.has(at)) {
    seen.add(at);
    if (view.getUint8(at) === EXPRESS) return at;
    at = view.getUint8(at + 1) & ~3;
  }
  return undefined;
}

function readLinks(view: DataView, at: number): PciLinkXml[] {
  if (LINKLESS.includes((view.getUint16(at + 2, true) & 0xf0) >> 4)) return [];
  const capability = view.getUint32(at + 12, true);
  const status = view.getUint16(at + 18, true);
  const link = (validity: 'cap' | 'sta', bits: number): PciLinkXml => ({
    validity,
    port: validity === 'cap' ? capability >>> 24 : undefined,
    speed: SPEEDS[bits & 0xf],
    width: (bits >> 4) & 0x3f,
  });
  return [link('cap', capability), link('sta', status)];
}
