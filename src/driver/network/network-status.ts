/** What is kept of a daemon's running network, so that the next daemon finds it. One JSON file each; those of an earlier boot are of no use. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../core/fs.ts';
import { readScope } from '../../core/ledger-owner.ts';
import { memberOf } from '../../core/members.ts';
import { formatNetwork, type Network, parseNetwork } from '../../model/network/network.ts';
import { parseNetworkPort } from '../../model/network/network-port.ts';
import type { ProcessIdentity } from '../../process/proc.ts';
import type { SiblingRoot } from '../siblings.ts';
import { attachmentOf } from './network-attachment.ts';
import { statusDir, statusFile } from './network-paths.ts';
import { describePort, type PortRecord } from './network-ports.ts';

const VERSION = 1;

export interface NetworkStatus {
  readonly network: Network;
  readonly dnsmasq: ProcessIdentity | undefined;
  readonly ports: readonly PortRecord[];
  /** MAC addresses of guests that were on it. */
  readonly left: readonly string[];
}

export async function writeNetworkStatus(
  root: SiblingRoot,
  { network, dnsmasq, ports, left }: NetworkStatus,
): Promise<void> {
  mkdirSync(statusDir(root), { recursive: true, mode: 0o700 });
  const text = JSON.stringify({
    version: VERSION,
    boot: readScope().bootId,
    xml: formatNetwork(network),
    dnsmasq,
    left,
    ports: ports.map((port) => ({
      xml: describePort(port),
      classId: port.classId,
      hostEnd: port.hostEnd,
      driver: port.driver,
    })),
  });
  await writeFileAtomic(statusFile(root, network.name), text, { mode: 0o600, sync: false });
}

export function dropNetworkStatus(root: SiblingRoot, name: string): void {
  rmSync(statusFile(root, name), { force: true });
}

/** All that run since this boot. @returns beside them one line for each file that cannot be read */
export function readNetworkStatuses(root: SiblingRoot): { found: NetworkStatus[]; problems: string[] } {
  const dir = statusDir(root);
  const found: NetworkStatus[] = [];
  const problems: string[] = [];
  for (const file of existsSync(dir) ? readdirSync(dir) : []) {
    if (!file.endsWith('.json')) continue;
    const path = join(dir, file);
    try {
      const status = parseStatus(readFileSync(path, 'utf8'));
      if (status === undefined) rmSync(path, { force: true });
      else found.push(status);
    } catch (error) {
      problems.push(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { found, problems };
}

/** Undefined for one of an earlier boot. @throws for what is no status */
function parseStatus(text: string): NetworkStatus | undefined {
  const raw: unknown = JSON.parse(text);
  if (memberOf(raw, 'version') !== VERSION)
    throw new TypeError(`it has version ${String(memberOf(raw, 'version'))}, not ${VERSION}`);
  if (memberOf(raw, 'boot') !== readScope().bootId) return undefined;
  const xml = memberOf(raw, 'xml');
  if (typeof xml !== 'string') throw new TypeError('members are missing');
  const [pid, startTime] = [memberOf(raw, 'dnsmasq', 'pid'), memberOf(raw, 'dnsmasq', 'startTime')];
  const [ports, left] = [memberOf(raw, 'ports'), memberOf(raw, 'left')];
  return {
    network: parseNetwork(xml),
    dnsmasq: typeof pid === 'number' && typeof startTime === 'string' ? { pid, startTime } : undefined,
    left: (Array.isArray(left) ? left : []).filter((mac: unknown) => typeof mac === 'string'),
    ports: (Array.isArray(ports) ? ports : []).flatMap((port: unknown) =>
      readPort(memberOf(port, 'xml'), (name) => memberOf(port, name)),
    ),
  };
}

function readPort(xml: unknown, get: (name: string) => unknown): PortRecord[] {
  if (typeof xml !== 'string') return [];
  const definition = parseNetworkPort(xml);
  if (definition.uuid === undefined) return [];
  const [classId, hostEnd, driver] = [get('classId'), get('hostEnd'), get('driver')];
  return [
    {
      definition: { ...definition, uuid: definition.uuid },
      attachment: attachmentOf(definition.plug),
      classId: typeof classId === 'number' ? classId : undefined,
      hostEnd: typeof hostEnd === 'string' ? hostEnd : undefined,
      driver: typeof driver === 'string' ? driver : undefined,
    },
  ];
}
