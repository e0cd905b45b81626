/** Ends a scope that nobody owns any more, unless somebody is in it. */
import { detectCgroups } from '../detect.ts';
import type { CgroupHost } from '../host.ts';
import { processesBelow } from '../ledger-remover.ts';
import { placeOf } from '../partition.ts';
import { isLoaded, readControlGroup, type ScopeNames, stopScope } from './scope.ts';
import type { Systemd } from './systemd.ts';

/** @throws Error naming the processes that are in it; SystemdError */
export async function collectScope(
  systemd: Systemd,
  names: ScopeNames,
  { host = detectCgroups(), signal }: { host?: CgroupHost; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  if (await isLoaded(systemd, names.unit, signal)) {
    const place = placeOf(await readControlGroup(systemd, names.unit, signal), host);
    const directories =
      place === undefined ? [] : [...Object.values(place.v1), ...(place.v2 === undefined ? [] : [place.v2.directory])];
    const pids = [...new Set(directories.flatMap(processesBelow))];
    if (pids.length > 0) throw new Error(`it still has processes in it (pid ${pids.slice(0, 5).join(', ')})`);
  }
  await stopScope(systemd, names, signal);
}
