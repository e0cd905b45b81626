/**
 * Processes that a device needs which joins a running guest (virtiofsd, passt, a reservation helper): started as those of a start are, ended
 * when the device has gone or the guest has ended. Which they are is the plan's business.
 */
import { abandon, DisposalStack } from '../../../core/dispose.ts';
import { LogSource } from '../../../core/log-source.ts';
import { readProcStat } from '../../../process/proc.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { FileRequest, HelperProcess } from '../plan/parts.ts';
import type { DriverParts } from './driver-parts.ts';
import { makeFiles } from './guest-files.ts';
import { startHelper } from './helper-process.ts';
import { environmentOf, listenersOf } from './launch-processes.ts';
import type { RunningGuest } from './running-guest.ts';

const log = new LogSource('qemu.qemu_hotplug');

/** What a definition needs beside QEMU that another does not. */
export interface NewHelpers {
  readonly helpers: readonly HelperProcess[];
  readonly files: readonly FileRequest[];
}

export function newHelpers(before: LaunchPlan, after: LaunchPlan): NewHelpers {
  const names = new Set(before.helpers.map(({ name }) => name));
  const helpers = after.helpers.filter(({ name }) => !names.has(name));
  if (helpers.length === 0) return { helpers, files: [] };
  const paths = new Set(before.files.map(({ path }) => path));
  return { helpers, files: after.files.filter(({ path }) => !paths.has(path)) };
}

/** Helpers that run, by name. Disposing ends them and removes their sockets. */
export type LiveHelpers = ReadonlyMap<string, AsyncDisposable>;

/**
 * The helpers run, and are known to whoever comes after us, when this returns.
 * @throws VirtError naming the helper and its last words; nothing is left then
 */
export async function startLiveHelpers(
  { root }: Pick<DriverParts, 'root'>,
  guest: RunningGuest,
  { helpers, files }: NewHelpers,
  environment: LaunchPlan['environment'],
  signal?: AbortSignal,
): Promise<LiveHelpers> {
  const started = new Map<string, AsyncDisposable>();
  const { ledger } = root.ledgerOf(root.layout.shortName(guest.id, guest.domain.name ?? ''));
  const isEmbedded = root.placement === 'embedded';
  const scratchDir = root.layout.roots.run;
  const env = { ...environmentOf({ root, id: guest.id, domain: guest.domain }), ...environment, TMPDIR: scratchDir };
  // A device has one; where it should have several their files go with the last.
  const shared = new DisposalStack();
  try {
    await makeFiles({ files, helpers, fds: [] }, { layout: root.layout, ledger }, shared);
    for (const helper of helpers) {
      const own = new DisposalStack();
      started.set(helper.name, own);
      const child = await startHelper(helper, {
        fdSources: {
          resolveSecret: () => new Uint8Array(),
          masterKey: new Uint8Array(),
          scratchDir,
          reader: guest.security?.helperUser(helper),
        },
        logFd: guest.logFd,
        env,
        cgroupProcs: guest.cgroups.joins,
        dieWithParent: isEmbedded,
        identity: guest.security?.helperIdentity(helper),
        onPid: isEmbedded
          ? undefined
          : (pid) => {
              const startTime = readProcStat(pid)?.startTime;
              if (startTime === undefined) return;
              const entry = ledger.record('process', { pid, startTime });
              own.defer(() => entry.done());
            },
        signal,
      });
      own.use(child);
      for (const { path } of listenersOf(helper)) await guest.security?.admitSocket(path);
      log.debug('startHelper', () => `vm=${guest.domain.name ?? ''} ${helper.name} pid=${child.pid}`);
    }
    const last = [...started.keys()].at(-1);
    if (last !== undefined) started.set(last, joined(started.get(last), shared));
    return started;
  } catch (error) {
    for (const one of [...started.values(), shared]) {
      await abandon(one, (problem) => log.warn('startHelper', () => `vm=${guest.domain.name ?? ''}: ${problem}`));
    }
    throw error;
  }
}

function joined(process: AsyncDisposable | undefined, files: AsyncDisposable): AsyncDisposable {
  const both = new DisposalStack();
  both.use(files);
  both.use(process);
  return both;
}
