/**
 * Dumps that nobody asks for: of a guest that panics (`<on_crash>coredump-…`) or whose watchdog expires (`action='dump'`). What
 * becomes of the guest afterwards is its own matter; a dump that fails is told in the log and changes nothing of that.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LogSource } from '../../../core/log-source.ts';
import { dumpCore } from './core-dump.ts';
import type { DriverParts } from './driver-parts.ts';
import type { DumpCause } from './guest-events.ts';
import type { DomainRecord } from './qemu-record.ts';

const log = new LogSource('qemu.qemu_driver');

/** Never rejects. */
export async function autoDump(
  parts: Pick<DriverParts, 'jobs' | 'emit' | 'config' | 'root'>,
  record: DomainRecord,
  cause: DumpCause,
): Promise<void> {
  const { config, root } = parts;
  const dir = config.autoDumpPath ?? join(root.layout.roots.lib, 'dump');
  const path = join(dir, autoDumpName(root.layout.shortName(record.guest?.id ?? -1, record.name), new Date()));
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    using _job = await record.job.acquire();
    // A guest that has crashed has no devices' state worth keeping, as libvirt sees it.
    await dumpCore(parts, record, path, { memoryOnly: cause === 'crash', bypassCache: config.autoDumpBypassCache });
    log.info('autoDump', () => `vm=${record.name} cause=${cause} path=${path}`);
  } catch (error) {
    log.error('autoDump', () => `vm=${record.name} cause=${cause}: no dump in ${path}: ${String(error)}`);
  }
}

/** libvirt's name of such a file: the guest's short name and the local time. */
export function autoDumpName(shortName: string, now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join('-');
  return `${shortName}-${day}-${[now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(':')}`;
}
