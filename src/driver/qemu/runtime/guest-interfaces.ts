/** Traffic of a guest's interfaces, as the kernel counts it on the host's side of each. Reads only. */
import { readFileSync } from 'node:fs';
import type { Domain } from '../../../model/domain/domain.ts';
import type { InterfaceStats } from '../../inspection-operations.ts';

/** The counters of an interface by its name on the host or its MAC; undefined where the guest has none such. */
export function readInterfaceCounters(domain: Domain, device: string, proc = '/proc'): InterfaceStats | undefined {
  const found = (domain.devices?.interfaces ?? []).find(
    ({ target, mac }) => target?.dev === device || mac?.address?.toLowerCase() === device.toLowerCase(),
  );
  const name = found?.target?.dev;
  return name === undefined ? undefined : parseNetDev(readFileSync(`${proc}/net/dev`, 'utf8'), name);
}

/** What the host receives on a tap is what the guest has sent: turned round, so that it is told from the guest's side. */
export function parseNetDev(text: string, name: string): InterfaceStats | undefined {
  const line = text.split('\n').find((candidate) => candidate.trim().startsWith(`${name}:`));
  if (line === undefined) return undefined;
  const fields = line
    .slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/);
  const at = (index: number): bigint => BigInt(fields[index] ?? 0);
  return {
    rxBytes: at(8),
    rxPackets: at(9),
    rxErrors: at(10),
    rxDropped: at(11),
    txBytes: at(0),
    txPackets: at(1),
    txErrors: at(2),
    txDropped: at(3),
  };
}
