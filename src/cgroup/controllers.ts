/**
 * Turns a tuning into changes of the group that it is for: each part goes to its controller's file, for the version of the hierarchy where
 * that controller is. A part whose controller is not to be had is one error that says why.
 */
import { type CgroupAction, CgroupError } from './action.ts';
import type { CgroupPlace } from './host.ts';
import type { GuestTuning } from './tuning.ts';
import { readBlkio, setBlkio } from './v1/blkio.ts';
import * as cpuV1 from './v1/cpu.ts';
import * as cpusetV1 from './v1/cpuset.ts';
import * as devicesV1 from './v1/devices.ts';
import * as memoryV1 from './v1/memory.ts';
import { readPids, setPids } from './v1/pids.ts';
import * as cpuV2 from './v2/cpu.ts';
import * as cpusetV2 from './v2/cpuset.ts';
import * as devicesV2 from './v2/devices.ts';
import { readIo, setIo } from './v2/io.ts';
import * as memoryV2 from './v2/memory.ts';

export type {
  BlkioDeviceTuning,
  BlkioTuning,
  CpusetTuning,
  CpuTuning,
  GuestTuning,
  MemoryTuning,
  PidsTuning,
} from './tuning.ts';
export { MEMORY_UNLIMITED_KIB } from './tuning.ts';

type Part = keyof GuestTuning;

/** The kernel's name of a part's controller: v1's first. Device rules need no controller on v2. */
const CONTROLLERS: Readonly<Record<Part, readonly [v1: string, v2: string | undefined]>> = {
  cpu: ['cpu', 'cpu'],
  cpuset: ['cpuset', 'cpuset'],
  memory: ['memory', 'memory'],
  blkio: ['blkio', 'io'],
  devices: ['devices', undefined],
  pids: ['pids', 'pids'],
};

/** The order in which parts are set: devices last, since what is denied may be needed by nobody before the guest itself. */
const ORDER: readonly Part[] = ['cpuset', 'memory', 'cpu', 'blkio', 'pids', 'devices'];

/** Controllers without which a tuning cannot be carried out, by v2's names; `devices` is not among them. */
export function neededControllers(tuning: GuestTuning): string[] {
  return partsOf(tuning).flatMap((part) => CONTROLLERS[part][1] ?? []);
}

/**
 * The changes that carry out a tuning. `present` is what holds now, where the order of changes depends on it; without it the group is new.
 * @throws CgroupError for a controller that the group does not have, or a value that it does not take
 */
export function planTuning(place: CgroupPlace, tuning: GuestTuning, present: GuestTuning = {}): CgroupAction[] {
  return partsOf(tuning).flatMap((part) => {
    const [v1Name, v2Name] = CONTROLLERS[part];
    const v1 = place.v1[v1Name];
    if (v1 !== undefined) return SET_V1[part](v1, tuning, present);
    const { v2 } = place;
    if (v2 !== undefined && (v2Name === undefined || v2.controllers.includes(v2Name))) {
      return SET_V2[part](v2.directory, tuning, present);
    }
    throw missingController(place, part);
  });
}

/** What holds in a group, as far as its controllers tell. */
export function readTuning({ v1, v2 }: CgroupPlace): GuestTuning {
  const has = (name: string): string | undefined =>
    v2?.controllers.includes(name) === true ? v2.directory : undefined;
  const pids = v1['pids'] ?? has('pids');
  return {
    cpu: either(v1['cpu'], cpuV1.readCpu, has('cpu'), cpuV2.readCpu),
    cpuset: either(v1['cpuset'], cpusetV1.readCpuset, has('cpuset'), cpusetV2.readCpuset),
    memory: either(v1['memory'], memoryV1.readMemory, has('memory'), memoryV2.readMemory),
    blkio: either(v1['blkio'], readBlkio, has('io'), readIo),
    pids: pids === undefined ? undefined : readPids(pids),
  };
}

/** Whether a part's controller is there. */
export function hasController({ v1, v2 }: CgroupPlace, part: keyof GuestTuning): boolean {
  const [v1Name, v2Name] = CONTROLLERS[part];
  return v1[v1Name] !== undefined || (v2 !== undefined && (v2Name === undefined || v2.controllers.includes(v2Name)));
}

function either<T>(
  v1: string | undefined,
  readV1: (directory: string) => T,
  v2: string | undefined,
  readV2: (directory: string) => T,
): T | undefined {
  if (v1 !== undefined) return readV1(v1);
  return v2 === undefined ? undefined : readV2(v2);
}

function partsOf(tuning: GuestTuning): Part[] {
  return ORDER.filter((part) => {
    const value = tuning[part];
    return value !== undefined && (Array.isArray(value) || Object.values(value).some((member) => member !== undefined));
  });
}

type Setter = (directory: string, tuning: GuestTuning, present: GuestTuning) => CgroupAction[];

const SET_V1: Readonly<Record<Part, Setter>> = {
  cpu: (directory, { cpu = {} }) => cpuV1.setCpu(directory, cpu),
  cpuset: (directory, { cpuset = {} }) => cpusetV1.setCpuset(directory, cpuset),
  memory: (directory, { memory = {} }, present) => memoryV1.setMemory(directory, memory, present.memory),
  blkio: (directory, { blkio = {} }) => setBlkio(directory, blkio),
  devices: (directory, { devices = [] }, present) => devicesV1.setDevices(directory, devices, present.devices),
  pids: (directory, { pids = {} }) => setPids(directory, pids),
};

const SET_V2: Readonly<Record<Part, Setter>> = {
  cpu: (directory, { cpu = {} }, present) => cpuV2.setCpu(directory, cpu, present.cpu),
  cpuset: (directory, { cpuset = {} }) => cpusetV2.setCpuset(directory, cpuset),
  memory: (directory, { memory = {} }, present) => memoryV2.setMemory(directory, memory, present.memory),
  blkio: (directory, { blkio = {} }) => setIo(directory, blkio),
  devices: (directory, { devices = [] }) => devicesV2.setDevices(directory, devices),
  pids: (directory, { pids = {} }) => setPids(directory, pids),
};

function missingController(place: CgroupPlace, part: Part): CgroupError {
  const [v1Name, v2Name] = CONTROLLERS[part];
  const name = place.v2 === undefined ? v1Name : (v2Name ?? v1Name);
  const directory = place.v2?.directory ?? Object.values(place.v1)[0] ?? place.path;
  return new CgroupError({
    operation: `set ${part} limits in`,
    directory,
    rule:
      place.v2 === undefined
        ? `the controller '${name}' is not mounted here, or not this user's to change`
        : `the controller '${name}' is not enabled in the group above it`,
    fix:
      place.v2 === undefined
        ? `mount it: mount -t cgroup -o ${name} ${name} /sys/fs/cgroup/${name}`
        : "run 'nestling ci prepare --cgroups', or name it in cgroup_controllers",
  });
}
