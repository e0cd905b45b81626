/** What virsh's `dominfo` and `dumpxml` tell of a QEMU domain. Reads only. */
import { readFileSync } from 'node:fs';
import { definitionOf, describeDomain as describe, infoOf as info } from '../../../guest/domain-report.ts';
import { formatDomain } from '../../../model/domain/domain.ts';
import type { DomainInfo, XmlOptions } from '../../driver.ts';
import type { Layout } from '../layout.ts';
import { savedDefinition } from '../live/saved-definition.ts';
import type { DomainRecord } from './qemu-record.ts';

/** Clock ticks of /proc/PID/stat: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;

/** `migratable`: as saved images hold it. */
export function describeDomain(record: DomainRecord, layout: Layout, options: XmlOptions): string {
  if (options.migratable !== true) return describe(record, options);
  // Whoever starts the guest elsewhere needs the passwords too.
  return formatDomain(savedDefinition(definitionOf(record, options.inactive ?? false), layout));
}

export function infoOf(record: DomainRecord): DomainInfo {
  const { guest } = record;
  return info(
    record,
    guest === undefined ? undefined : { memoryKiB: guest.balloonKiB, cpuTimeNs: readCpuTimeNs(guest.pid) },
  );
}

function readCpuTimeNs(pid: number): bigint {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // It has just ended; the state will say so.
    return 0n;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS;
}
