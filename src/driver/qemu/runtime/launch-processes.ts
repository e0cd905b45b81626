/** Starts the processes of a planned guest: helpers first, then QEMU, each with its descriptors, in its cgroup, with its labels. */
import type { DisposalStack } from '../../../core/dispose.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { randomBytes } from '../../../core/random.ts';
import { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import { emulatorCpus, placesThreads } from '../../../guest/cgroups/guest-tuning.ts';
import { type GuestLog, startLine } from '../../../guest/guest-log.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { readProcStat } from '../../../process/proc.ts';
import { spawnChild } from '../../../process/spawn.ts';
import type { ObjectLedger } from '../../siblings.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import type { HelperProcess } from '../plan/parts.ts';
import { formatCommand, renderArguments } from '../plan/render.ts';
import type { GuestSecurity } from '../security/guest-security.ts';
import { startHelper } from './helper-process.ts';
import { type FdSources, prepareFds } from './inherited-fds.ts';
import { NetworkDevices } from './network-device.ts';
import type { StartRequest } from './start-request.ts';

const MASTER_KEY_BYTES = 32;

export interface StartedHelper {
  readonly name: string;
  readonly child: ChildHandle;
}

/** The processes of a guest, and what belongs to them. */
export interface Started {
  /** Processes that must live as long as QEMU. */
  readonly helpers: readonly StartedHelper[];
  readonly child: ChildHandle;
  readonly cgroups: GuestCgroups;
  readonly security: GuestSecurity | undefined;
  /** Our ends of QEMU's socket pairs: its descriptor by name. */
  readonly streams: ReadonlyMap<string, number>;
}

/** @returns QEMU with its helpers, all on `undo` @throws what the first of them says */
export async function launch(
  request: StartRequest,
  { ledger, security }: ObjectLedger & Pick<Started, 'security'>,
  log: GuestLog,
  undo: DisposalStack,
  signal: AbortSignal | undefined,
): Promise<Started> {
  const { plan, root, domain } = request;
  const cgroups = undo.use(new GuestCgroups({ ...request.cgroups, id: request.id, root: root.path, ledger }));
  const cgroupProcs = await cgroups.make(domain);
  const scratchDir = root.layout.roots.run;
  // Before QEMU on the stack: taps are gone when QEMU is.
  const network = undo.use(
    new NetworkDevices({
      interfaces: request.domain.devices?.interfaces ?? [],
      ledger,
      onPlugged: request.onPlugged,
    }),
  );
  const fdSources: FdSources = {
    openNetworkDevice: (wanted) => network.open(wanted),
    ...request.fdSources,
    scratchDir,
    masterKey: randomBytes(MASTER_KEY_BYTES),
  };
  const env = { ...environmentOf(request), ...plan.environment };
  log.stamp(startLine({ nestling: request.version, qemu: versionText(request.caps) }));
  log.write(formatCommand({ ...plan, environment: env }, request.caps));
  log.markOutput();
  // What a helper puts aside (swtpm_setup its certificates) goes where the ledger knows of it.
  const helperEnv = { ...env, TMPDIR: scratchDir };
  const isEmbedded = root.placement === 'embedded';
  // What does not die with us must be known to whoever comes after us.
  const announce = isEmbedded ? undefined : (pid: number): void => announceProcess(ledger, pid);
  const helpers: StartedHelper[] = [];
  for (const helper of plan.helpers) {
    const started = undo.use(
      await startHelper(helper, {
        fdSources: { ...fdSources, reader: security?.helperUser(helper) },
        logFd: log.fd,
        env: helperEnv,
        cgroupProcs,
        dieWithParent: isEmbedded,
        identity: security?.helperIdentity(helper),
        onPid: announce,
        signal,
      }),
    );
    for (const { path } of listenersOf(helper)) await security?.admitSocket(path);
    if (helper.oneShot !== true) helpers.push({ name: helper.name, child: started });
  }
  using fds = await prepareFds(plan.fds, { ...fdSources, reader: security?.user });
  const { incomingFd } = request;
  const incoming = incomingFd === undefined ? [] : ['-incoming', `fd:${3 + fds.stdio.length}`];
  const needsStop =
    incomingFd !== undefined ||
    request.paused ||
    plan.deferred.length > 0 ||
    placesThreads(domain) ||
    cgroups.hasThreadGroups;
  const child = await spawnChild(
    {
      command: plan.binary,
      args: [...renderArguments(plan, request.caps), ...(needsStop ? ['-S'] : []), ...incoming],
      env,
      dieWithParent: isEmbedded,
      cgroupProcs,
      affinity: emulatorCpus(domain) ?? [],
      limits: request.limits,
      ...security?.process,
      // Ctrl-C at the caller's terminal is the caller's to handle: QEMU would take it as an order to quit.
      newSession: true,
      stdio: [
        'ignore',
        { fd: log.fd },
        { fd: log.fd },
        ...fds.stdio,
        ...(incomingFd === undefined ? [] : [{ fd: incomingFd }]),
      ],
    },
    { signal, beforeExec: cgroups.beforeExec(domain, helpers.map(pidOf), { announce, signal }) },
  );
  undo.use(child);
  fds.publish();
  request.onMark?.('qemu-spawned');
  return { child, helpers, cgroups, security, streams: fds.streams };
}

/** Sockets on which a helper waits for QEMU. */
export function listenersOf({ readySocket, fds = [] }: HelperProcess): { path: string }[] {
  const listening = fds.flatMap((fd) => (fd.kind === 'listen-unix' ? [{ path: fd.path }] : []));
  return readySocket === undefined ? listening : [...listening, { path: readySocket }];
}

function pidOf({ child }: StartedHelper): number {
  return child.pid;
}

function announceProcess(ledger: Ledger, pid: number): void {
  const startTime = readProcStat(pid)?.startTime;
  if (startTime !== undefined) ledger.record('process', { pid, startTime });
}

/** Of the processes of a guest: nothing of the caller's but where programs are. */
export function environmentOf({
  root,
  id,
  domain,
}: Pick<StartRequest, 'root' | 'id' | 'domain'>): Record<string, string> {
  const home = root.layout.domainDir(id, domain.name ?? '');
  return {
    LC_ALL: 'C',
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    XDG_DATA_HOME: `${home}/.local/share`,
    XDG_CACHE_HOME: `${home}/.cache`,
    XDG_CONFIG_HOME: `${home}/.config`,
  };
}

function versionText({ version, package: packageText }: QemuCapabilities): string {
  return `${version.major}.${version.minor}.${version.micro}${packageText === '' ? '' : ` (${packageText})`}`;
}
