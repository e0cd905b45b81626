/** Ends a scope that nobody owns any more, unless somebody is in it. */
import { detectCgroups } from '../detect.ts';
import type { CgroupHost } from '../host.ts';
import { processesBelow } from '../ledger-remover.ts';
import { placeOf } from '../partition.ts';
import { isLoaded, readControlGroup, type ScopeNames, stopScope } from './scope.ts';
import type { Systemd } from './systemd.ts';
import { DBUS_ERROR, SystemdError } from './systemd-error.ts';

/** @throws Error naming the processes that are in it; SystemdError */
export async function collectScope(
  systemd: Systemd,
  names: ScopeNames,
  { host = detectCgroups(), signal }: { host?: CgroupHost; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const path = await findControlGroup(systemd, names.unit, signal);
  if (path !== undefined) {
    const place = placeOf(path, host);
    const directories =
      place === undefined ? [] : [...Object.values(place.v1), ...(place.v2 === undefined ? [] : [place.v2.directory])];
    const pids = [...new Set(directories.flatMap(processesBelow))];
    if (pids.length > 0) throw new Error(`it still has processes in it (pid ${pids.slice(0, 5).join(', ')})`);
  }
  await stopScope(systemd, names, signal);
}

/** Undefined where there is none: systemd has ended the scope already, or keeps it as failed only to be asked about. */
async function findControlGroup(systemd: Systemd, unit: string, signal?: AbortSignal): Promise<string | undefined> {
  try {
    return (await isLoaded(systemd, unit, signal)) ? await readControlGroup(systemd, unit, signal) : undefined;
  } catch (error) {
    if (error instanceof SystemdError && error.errorName === DBUS_ERROR.noSuchUnit) return undefined;
    throw error;
  }
}
