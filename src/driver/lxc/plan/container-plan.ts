/**
 * From a completed definition to what runs it: the OCI configuration and what the host does besides. `config.json` is to a container what the
 * argument list is to QEMU; the planner is pure.
 */
import type { NetworkOwner } from '../../../cgroup/settings-program.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { Idmap, IdRange } from '../../../model/domain/idmap.ts';
import type { SharedNamespace } from '../../../model/domain/lxc-namespace.ts';
import { planCapabilities } from './capabilities.ts';
import { type ContainerFacts, type DeviceNumbers, refuse } from './container-context.ts';
import { boundDev, type DevFolder, FIRST_TERMINAL, planDevFolder } from './dev-folder.ts';
import { registeringHook, SAME_USERS } from './foreign.ts';
import { networkToGuard } from './kernel-settings.ts';
import { hasPrivateNetwork, type PreparedMount, planMounts } from './mounts.ts';
import { ociDeviceRules } from './oci-runtime.ts';
import type {
  OciDevice,
  OciHook,
  OciIdMapping,
  OciLinux,
  OciMount,
  OciNamespace,
  OciProcess,
  OciSpec,
} from './oci-spec.ts';
import { isAlone, refuseRootsOwn, sameIds, withinPerson } from './person.ts';

export interface ContainerPlan {
  readonly spec: OciSpec;
  /** Mounted before the container is made, in the private mount namespace around it. */
  readonly prepared: readonly PreparedMount[];
  /** It has a network namespace of its own, which interfaces are moved into before its first program runs. */
  readonly privateNetwork: boolean;
  /** Its users are others of the host's. */
  readonly mapped: boolean;
  /** It has a user namespace, which then owns its network. */
  readonly ownUsers: boolean;
  /** Namespaces of other processes that it shares, and the files that stand for them around the runtime, which has a /proc of its own. */
  readonly sharedNamespaces: readonly { readonly source: string; readonly at: string }[];
  /** Terminals beside the first: number of each, from 2. */
  readonly extraTerminals: readonly number[];
  /** Made before the runtime, which has it in its configuration. */
  readonly dev?: DevFolder | undefined;
  /** The kernel's settings are to be guarded from its root: those of every network, or of all but its own. */
  readonly guarded?: NetworkOwner | undefined;
}

export interface ContainerPlaces {
  /** Where the root is mounted; the configuration names it. */
  readonly root: string;
  /** Where the other prepared mounts are. */
  readonly mount: (index: number) => string;
  /** FIFOs `GATE.in` and `GATE.out`, for networks of mapped users. */
  readonly gate: string;
  /** A file that keeps the emulator of another architecture registered. */
  readonly emulation: string;
  /** Files that namespaces of other processes are bound to. */
  readonly namespace: (file: string) => string;
  /** The host's ends of terminals beside the first, bound to `/dev/ttyN`. */
  readonly terminal: (number: number) => string;
  /** Where whoever starts it can make its /dev; absent: the runtime makes it. */
  readonly dev?: string | undefined;
}

const NAMESPACE_FILES = { network: 'net', ipc: 'ipc', uts: 'uts' } as const;
const NODE_MODE = 0o600;
/** Besides what libvirt guards: files that act on the host or tell of it. */
const MASKED = ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware'];
const SETTINGS = '/proc/sys';
const READ_ONLY = ['/proc/sysrq-trigger', '/proc/irq', '/proc/bus', '/proc/fs'];

/** @throws VirtError CONFIG_UNSUPPORTED for what containers cannot have */
export function planContainer(given: Domain, facts: ContainerFacts, places: ContainerPlaces): ContainerPlan {
  refuseOthers(given);
  if (facts.person !== undefined) refuseRootsOwn(given, facts.person);
  const domain = withUsers(given, facts);
  const { mounts, prepared, rootReadonly } = planMounts(domain, places.mount, facts);
  // The runtime binds it to itself: a mount of ours is for what it cannot reach or mount. Mapped users may not walk to it.
  const folder = given.idmap === undefined && prepared[0]?.kind === 'bind' ? facts.rootFolder : undefined;
  const root = folder ?? places.root;
  const consoles = domain.devices?.consoles ?? [];
  const extraTerminals = consoles.slice(1).map((_, index) => index + 2);
  const { idmap } = domain;
  const { person } = facts;
  const { register, personality } = facts.foreign ?? {};
  const nodes = planNodes(domain, facts);
  const createRuntime = [
    ...(register === undefined
      ? []
      : [registeringHook(register, places.emulation, { isAlone: person !== undefined && isAlone(person) })]),
    ...(idmap !== undefined && hasPrivateNetwork(domain) ? [gate(places.gate)] : []),
  ];
  const namespaces = planNamespaces(domain, facts);
  // Other users' nodes, and those of the definition with their folders, are the runtime's to make.
  const dev = idmap === undefined && person === undefined && nodes.length === 0 ? places.dev : undefined;
  const spec: OciSpec = {
    ociVersion: '1.0.2',
    process: planProcess(domain, facts),
    root: { path: root, readonly: rootReadonly },
    ...hostname(domain),
    mounts: [
      ...(dev === undefined ? mounts : boundDev(mounts, dev)),
      ...extraTerminals.map((number) => ({
        destination: `/dev/tty${number}`,
        type: 'bind',
        source: places.terminal(number),
        options: ['bind', 'rw'],
      })),
      ...(person === undefined ? [] : nodes.map(boundNode)),
    ],
    hooks: {
      ...(createRuntime.length > 0 ? { createRuntime } : {}),
      ...(dev === undefined ? { createContainer: [firstTerminal(root)] } : {}),
    },
    linux: {
      namespaces: namespaces.map(({ type, path }) => ({
        type,
        ...(path === undefined ? {} : { path: isOfProcess(path) ? places.namespace(type) : path }),
      })),
      ...(idmap === undefined ? {} : mappings(idmap)),
      ...(personality === undefined ? {} : { personality: { domain: personality } }),
      devices: person === undefined ? nodes.map(madeNode) : [],
      ...placementOf(facts),
      maskedPaths: MASKED,
      readonlyPaths: readonlyPaths(domain, facts),
    },
  };
  return {
    spec,
    prepared: folder === undefined ? prepared : prepared.slice(1),
    privateNetwork: hasPrivateNetwork(domain) && domain.lxcNamespace?.sharenet === undefined,
    mapped: given.idmap !== undefined,
    ownUsers: idmap !== undefined,
    sharedNamespaces: namespaces.flatMap(({ type, path }) =>
      path !== undefined && isOfProcess(path) ? [{ source: path, at: places.namespace(type) }] : [],
    ),
    extraTerminals,
    guarded: networkToGuard(given, person),
    ...(dev === undefined ? {} : { dev: planDevFolder(dev) }),
  };
}

function placementOf({ placement }: ContainerFacts): Pick<OciLinux, 'cgroupsPath' | 'resources'> {
  if (placement === undefined) return {};
  const { cgroupsPath, devices } = placement;
  return { cgroupsPath, resources: { devices: ociDeviceRules(devices) } };
}

/** Where it has a network of its own, the settings of that one are its to change. */
function readonlyPaths(domain: Domain, { settings }: ContainerFacts): string[] {
  if (settings === undefined || !hasPrivateNetwork(domain)) return [SETTINGS, ...READ_ONLY];
  return [...settings.filter((name) => name !== 'net').map((name) => `${SETTINGS}/${name}`), ...READ_ONLY];
}

/** By the host's numbers, which say nothing around the runtime. */
function isOfProcess(path: string): boolean {
  return path.startsWith('/proc/');
}

/** A binfmt_misc of its own needs a user namespace of its own. @throws VirtError for what such a namespace may not mount */
function withUsers(domain: Domain, { foreign, person }: ContainerFacts): Domain {
  if (domain.idmap !== undefined) {
    return person === undefined ? domain : { ...domain, idmap: withinPerson(domain.idmap, person) };
  }
  if (foreign?.register === undefined) return domain;
  if (domain.memoryBacking?.hugepages !== undefined) {
    refuse(
      `<hugepages>: the kernel mounts them only outside of the user namespace that emulates '${domain.os?.type?.arch}'; leave them out`,
    );
  }
  return { ...domain, idmap: person === undefined ? SAME_USERS : sameIds(person) };
}

/** Tells the container's state through one FIFO, and waits for a line in another: open before, as a line that nobody holds is lost with its writer. */
function gate(path: string): OciHook {
  const script = 'read -r state; exec 3<"$0.out"; echo "$state" >"$0.in"; read -r go <&3';
  return { path: '/bin/sh', args: ['sh', '-c', script, path] };
}

/** The runtime writes the container's state into a hook and takes it amiss when that ends without having read it. Here a link would still lead to the host. */
function firstTerminal(root: string): OciHook {
  const { name, target } = FIRST_TERMINAL;
  return {
    path: '/bin/sh',
    args: ['sh', '-c', `read -r state; [ -L "\${0%/*}" ] || exec ln -sf ${target} "$0"`, `${root}/dev/${name}`],
  };
}

function refuseOthers({ type, os, devices }: Domain): void {
  if (type !== 'lxc') refuse(`the definition is of type '${type ?? ''}'; containers are of type 'lxc'`);
  if (os?.type?.value !== undefined && os.type.value !== 'exe') {
    refuse(`<os><type> is '${os.type.value}'; containers have 'exe'`);
  }
  const families: [string, readonly unknown[] | undefined][] = [
    ['graphics', devices?.graphics],
    ['video', devices?.videos],
    ['sound', devices?.sounds],
    ['serial', devices?.serials],
    ['channel', devices?.channels],
    ['tpm', devices?.tpms],
    ['shmem', devices?.shmems],
  ];
  for (const [name, found] of families) {
    if ((found ?? []).length > 0) refuse(`containers have no <${name}> devices`);
  }
  const other = devices?.consoles.find((console) => (console.type ?? 'pty') !== 'pty');
  if (other !== undefined) refuse(`consoles of containers are of type 'pty', not '${other.type}'`);
}

function planProcess(domain: Domain, facts: ContainerFacts): OciProcess {
  const { os, uuid = '', name = '', features, seclabels } = domain;
  const allowed = planCapabilities(features, facts.capabilities);
  const label = (model: string): string | undefined =>
    seclabels.find((seclabel) => seclabel.model === model && seclabel.type !== 'none')?.label;
  const apparmorProfile = label('apparmor');
  const selinuxLabel = label('selinux');
  return {
    terminal: true,
    user: {
      uid: idOf('user', os?.inituser, facts),
      gid: idOf('group', os?.initgroup, facts),
    },
    args: [os?.init ?? '/sbin/init', ...(os?.initargs ?? [])],
    env: [
      'PATH=/bin:/sbin:/usr/bin:/usr/sbin',
      'TERM=linux',
      'HOME=/',
      'container=lxc-libvirt',
      `container_uuid=${uuid}`,
      `LIBVIRT_LXC_UUID=${uuid}`,
      `LIBVIRT_LXC_NAME=${name}`,
      ...(os?.cmdline === undefined ? [] : [`LIBVIRT_LXC_CMDLINE=${os.cmdline}`]),
      ...(os?.initenvs ?? []).map((variable) => `${variable.name}=${variable.value ?? ''}`),
    ],
    cwd: os?.initdir ?? '/',
    capabilities: { bounding: allowed, effective: allowed, permitted: allowed },
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
    ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
  };
}

/** By number (`0`, `+0`), or by name as the container knows it. */
function idOf(kind: 'user' | 'group', given: string | undefined, facts: ContainerFacts): number {
  if (given === undefined) return 0;
  const { person } = facts;
  if (person !== undefined && isAlone(person) && !/^\+?0+$/.test(given) && given !== 'root') {
    refuse(
      `<init${kind}> is '${given}', but a container of user ${person.name ?? person.uid} has root alone: install uidmap, and as root: ` +
        `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${person.name ?? person.uid}`,
    );
  }
  if (/^\+?\d+$/.test(given)) return Number(given);
  return (
    facts.idOf(kind, given) ??
    refuse(`<init${kind}>: the container has no ${kind} '${given}' in /etc/${kind === 'user' ? 'passwd' : 'group'}`)
  );
}

/** The kernel takes 64 characters. */
function hostname({ name = '', lxcNamespace }: Domain): { hostname?: string } {
  return lxcNamespace?.shareuts === undefined ? { hostname: name.slice(0, 64) } : {};
}

function planNamespaces(domain: Domain, facts: ContainerFacts): OciNamespace[] {
  const { shareipc, shareuts } = domain.lxcNamespace ?? {};
  return [
    { type: 'pid' },
    { type: 'mount' },
    { type: 'cgroup' },
    own('ipc', shareipc, facts),
    own('uts', shareuts, facts),
    ...networkNamespace(domain, facts),
    ...(domain.idmap === undefined ? [] : [{ type: 'user' as const }]),
  ];
}

/**
 * One of its own is made around the runtime, so that it can be filled before. But a user namespace must own the network that its root is to set
 * up: then the runtime makes both, and waits in a hook.
 */
function networkNamespace(domain: Domain, facts: ContainerFacts): OciNamespace[] {
  const shared = domain.lxcNamespace?.sharenet;
  if (shared !== undefined) return [own('network', shared, facts)];
  return domain.idmap !== undefined && hasPrivateNetwork(domain) ? [{ type: 'network' }] : [];
}

function own(
  type: keyof typeof NAMESPACE_FILES,
  shared: SharedNamespace | undefined,
  facts: ContainerFacts,
): OciNamespace {
  if (shared === undefined) return { type };
  const file = NAMESPACE_FILES[type];
  if (shared.type === 'netns') {
    if (type !== 'network') refuse(`<lxc:share${file}>: type='netns' is for <lxc:sharenet> alone`);
    return { type, path: `/run/netns/${shared.value}` };
  }
  const pid = shared.type === 'pid' ? shared.value : facts.initOf(shared.value);
  if (pid === undefined) refuse(`<lxc:share${file}>: there is no running container '${shared.value}'`);
  if (!/^[1-9]\d*$/.test(String(pid))) refuse(`<lxc:share${file}>: '${pid}' is no process`);
  return { type, path: `/proc/${pid}/ns/${file}` };
}

function mappings({ uids, gids }: Idmap): { uidMappings: OciIdMapping[]; gidMappings: OciIdMapping[] } {
  const one = ({ start, target, count }: IdRange): OciIdMapping => ({
    containerID: start,
    hostID: target,
    size: count,
  });
  if (!uids.some(({ start }) => start === 0) || !gids.some(({ start }) => start === 0)) {
    refuse("<idmap> must map the container's root: a <uid start='0' …/> and a <gid start='0' …/>");
  }
  return { uidMappings: uids.map(one), gidMappings: gids.map(one) };
}

interface Node {
  /** On the host. */
  readonly path: string;
  /** In the container. */
  readonly at: string;
  readonly numbers: DeviceNumbers;
}

/** Beside the nodes that every runtime makes: those that the definition gives. */
function planNodes({ devices }: Domain, facts: ContainerFacts): Node[] {
  const given = (devices?.hostdevs ?? []).flatMap(({ mode, type, source }) => {
    if (mode !== 'capabilities') refuse(`<hostdev mode='${mode ?? 'subsystem'}'>: containers have mode='capabilities'`);
    if (type === 'net') return [];
    const path = type === 'storage' ? source.block : source.char;
    const named = path ?? refuse(`<hostdev type='${type}'> names no device`);
    return [{ path: named, at: named }];
  });
  const disks = (devices?.disks ?? []).map(({ type, source, target }) => {
    if (type !== 'block') refuse("containers have <disk type='block'>; an image is a <filesystem type='file'>");
    return { path: source?.dev ?? refuse('<disk> has no <source dev=…>'), at: `/dev/${target?.dev ?? ''}` };
  });
  return [...given, ...disks].map(({ path, at }) => {
    const numbers = facts.deviceOf(path) ?? refuse(`there is no device ${path} on this host`);
    return { path, at, numbers };
  });
}

function madeNode({ at, numbers }: Node): OciDevice {
  return { path: at, ...numbers, fileMode: NODE_MODE, uid: 0, gid: 0 };
}

/** Who may make no nodes gives the host's own, to be opened by whom that lets. */
function boundNode({ path, at }: Node): OciMount {
  return { destination: at, type: 'bind', source: path, options: ['bind', 'rw'] };
}
