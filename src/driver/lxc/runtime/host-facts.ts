/** What of this host the plan of a container depends on. Reads only. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { deviceNumbers } from '../../../cgroup/block-device.ts';
import { detectCgroups } from '../../../cgroup/detect.ts';
import { type CgroupHost, v2Hierarchy } from '../../../cgroup/host.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { readBinfmtFacts } from '../../../host/binfmt.ts';
import { hostArch } from '../../../host/cpu.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { lookUpAgain } from '../../../process/find-program.ts';
import { rootSource } from '../plan/complete-definition.ts';
import type { TaskFacts } from '../plan/container-cgroup.ts';
import type { ContainerFacts, DeviceNumbers } from '../plan/container-context.ts';
import { type ForeignFacts, type ForeignRun, planForeignRun } from '../plan/foreign.ts';
import { mountsInProc, RUNTIMES, type RuntimeName } from '../plan/oci-runtime.ts';
import { readPerson } from './start-person.ts';

/** As many as any kernel has. */
const ALL_CAPABILITIES = (1n << 64n) - 1n;

export interface RuntimeFact {
  /** The OCI runtime: where that is. */
  readonly runtime: string;
}

/** `initOf`: of the containers of this connection; `runtime`: that is asked for. @throws VirtError where there is none such */
export function readContainerFacts(
  domain: Domain,
  initOf: ContainerFacts['initOf'],
  runtime?: RuntimeName,
): ContainerFacts & TaskFacts & RuntimeFact {
  const person = readPerson();
  const root = rootSource(domain);
  const foreign = readForeignRun(domain);
  const found = findRuntime(runtime);
  return {
    runtime: found,
    ...(mountsInProc(found) ? {} : { settings: readdirSync('/proc/sys') }),
    capabilities: readCapabilities(
      domain.idmap !== undefined || foreign?.register !== undefined || person !== undefined,
    ),
    person,
    foreign,
    rootFolder: root === undefined ? undefined : folderAt(root),
    idOf: (kind, name) => (root === undefined ? undefined : idIn(root, kind === 'user' ? 'passwd' : 'group', name)),
    deviceOf,
    initOf,
    ...readTaskFacts(),
  };
}

let taskFacts: TaskFacts | undefined;

/** Read once: they are set with the host. */
function readTaskFacts(): TaskFacts {
  taskFacts ??= {
    pidMax: Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8')),
    threadsMax: Number(readFileSync('/proc/sys/kernel/threads-max', 'utf8')),
  };
  return taskFacts;
}

/** Runtimes want a root without links in its path, and another one than their own. */
function folderAt(path: string): string | undefined {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return undefined;
  const real = realpathSync.native(path);
  return real === '/' ? undefined : real;
}

/** @throws VirtError CONFIG_UNSUPPORTED where programs of its architecture cannot run here */
function readForeignRun({ os }: Domain): ForeignRun | undefined {
  const arch = os?.type?.arch;
  // Also under a 32-bit personality: what the definition was completed with.
  return arch === undefined || arch === hostArch() ? undefined : planForeignRun(arch, readForeignFacts());
}

export function readForeignFacts(): ForeignFacts {
  const facts = readBinfmtFacts();
  // Only the kernel knows: it gives no such personality where no processor has the mode.
  const runs32Bit = facts.machine !== 'aarch64' || spawnSync('setarch', ['linux32', 'true']).status === 0;
  return { ...facts, runs32Bit };
}

/** Read once: nothing here gives any up. */
let ownCapabilities: string | undefined;

/** A new user namespace gives its root all; else nobody can give more than this process has. */
function readCapabilities(ownUsers: boolean): bigint {
  if (!ownUsers) {
    ownCapabilities ??= /^CapBnd:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (ownCapabilities !== undefined) return BigInt(`0x${ownCapabilities}`);
  }
  const last = BigInt(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8').trim());
  return ALL_CAPABILITIES & ((1n << (last + 1n)) - 1n);
}

/** The container's own file only: a link in its root must not have the host's read. */
function idIn(root: string, file: 'passwd' | 'group', name: string): number | undefined {
  const path = join(root, 'etc', file);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true || realpathSync(path) !== join(realpathSync(root), 'etc', file)) return undefined;
  const line = readFileSync(path, 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  return line === undefined || !Number.isInteger(id) ? undefined : id;
}

function deviceOf(path: string): DeviceNumbers | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || !(found.isBlockDevice() || found.isCharacterDevice())) return undefined;
  return { type: found.isBlockDevice() ? 'b' : 'c', ...deviceNumbers(found.rdev) };
}

/** The v2 tree of a host that has v1 as well: crun refuses to see both. */
export function hiddenCgroup(host: CgroupHost = detectCgroups()): string | undefined {
  return host.mode === 'hybrid' || host.mode === 'v1' ? v2Hierarchy(host)?.mountPoint : undefined;
}

/** What its file systems show must be there: an empty directory in its place would hide a typing error. @throws VirtError */
export function requireSources({ devices }: Domain): void {
  for (const { type = 'mount', source, target } of devices?.filesystems ?? []) {
    const path = type === 'file' ? source?.file : type === 'block' ? source?.dev : source?.dir;
    if (path === undefined || existsSync(path)) continue;
    throw new VirtError(`<filesystem> on ${target?.dir ?? '?'} shows ${path}, which this host does not have: make it`, {
      code: ErrorCode.CONFIG_UNSUPPORTED,
      domain: ErrorDomain.LXC,
    });
  }
}

/** @throws VirtError naming the package */
function findRuntime(wanted: RuntimeName | undefined): string {
  const found = lookUpRuntime(wanted);
  if (found !== undefined) return found;
  throw missing(`containers run on an OCI runtime: install ${wanted ?? RUNTIMES.join(' or ')}`);
}

/** `wanted`: none but this; default: the first that there is. */
export function lookUpRuntime(wanted?: RuntimeName): string | undefined {
  for (const name of wanted === undefined ? RUNTIMES : [wanted]) {
    const found = lookUpAgain(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** `isKept`: for a container that outlives this process. @throws VirtError naming the package */
export function findMonitor(isKept: boolean): string {
  const found = lookUpAgain('conmon');
  if (found !== undefined) return found;
  throw missing(`containers ${isKept ? 'of a daemon' : 'on runc'} are kept by conmon: install conmon`);
}

function missing(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC });
}
