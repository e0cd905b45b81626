/**
 * Plans limits of a network device as commands of `tc`: what goes out by it is queued (HTB), what comes in is dropped when it is too much. Pure. Rates are
 * those of definitions: kilobytes per second, of 1000 bytes as `tc` takes them; bursts are kibibytes.
 */
import { requireInterfaceName, tableName } from '../firewall/rule-names.ts';

export interface Rate {
  readonly average?: number | undefined;
  readonly peak?: number | undefined;
  /** What is left to the interface however busy its network is. */
  readonly floor?: number | undefined;
  readonly burst?: number | undefined;
}

/** `<bandwidth>`. Seen from the guest: `inbound` is what it receives. */
export interface Bandwidth {
  readonly inbound?: Rate | undefined;
  readonly outbound?: Rate | undefined;
}

export interface TrafficStep {
  /** Take away what is there. Their failing says that nothing was. */
  readonly before: readonly string[];
  /** Lines for `tc -batch`. */
  readonly commands: readonly string[];
  /** Done without where the kernel has not what it takes. */
  readonly optional?: boolean;
  /** For `nft -f`, where the kernel cannot do it with `tc`. */
  readonly instead?: string;
}

export interface TrafficPlan {
  readonly device: string;
  readonly steps: readonly TrafficStep[];
}

/** A guest's share of a network, and how its packets are told. */
export interface FloorPort {
  /** From 3; 1 and 2 are the network's own. */
  readonly classId: number;
  readonly mac: string;
  readonly floor: number;
}

/** A packet that was put together from many may be so long. */
const LONGEST_PACKET = '64kb';
const TOTAL_CLASS = 1;
const REST_CLASS = 2;
/** Bytes that a class may send before it is the next one's turn: at least a packet, at most what `tc` does not warn about. */
const QUANTUM = { min: 1514, max: 60_000 };
const BYTES_PER_KILOBYTE = 1000;

/**
 * Limits of a guest's interface.
 * @param hostView the device shows the host's side of the wire as the guest's own would (macvtap): what goes out by it comes from the guest
 */
export function planInterfaceBandwidth(
  device: string,
  { inbound, outbound }: Bandwidth,
  { hostView = false }: { hostView?: boolean } = {},
): TrafficPlan {
  requireInterfaceName(device);
  const [out, into] = hostView ? [outbound, inbound] : [inbound, outbound];
  return {
    device,
    steps: [
      { before: [`qdisc del dev ${device} root`, `qdisc del dev ${device} ingress`], commands: [] },
      ...(isLimit(out)
        ? [
            {
              before: [],
              commands: [
                `qdisc add dev ${device} root handle 1: htb default 1`,
                classLine('add', device, '1:', 1, out),
              ],
            },
            fair(device, 1),
          ]
        : []),
      ...(isLimit(into) ? [dropStep(device, [`qdisc add dev ${device} ingress`], 'parent ffff:', into)] : []),
    ],
  };
}

/** Limits of a whole network on its bridge: all guests together, of which some have a share of their own. */
export function planNetworkBandwidth(
  bridge: string,
  { inbound, outbound }: Bandwidth,
  ports: readonly FloorPort[] = [],
): TrafficPlan {
  requireInterfaceName(bridge);
  const before = [`qdisc del dev ${bridge} root`, `filter del dev ${bridge} ingress`, `qdisc add dev ${bridge} clsact`];
  return {
    device: bridge,
    steps: [
      { before, commands: [] },
      ...(isLimit(inbound)
        ? [
            {
              before: [],
              commands: [
                `qdisc add dev ${bridge} root handle 1: htb default ${REST_CLASS}`,
                classLine('add', bridge, '1:', TOTAL_CLASS, inbound),
                classLine('add', bridge, `1:${TOTAL_CLASS}`, REST_CLASS, restOf(inbound, ports)),
              ],
            },
            fair(bridge, REST_CLASS),
          ]
        : []),
      ...(isLimit(inbound) ? ports.flatMap((port) => portSteps(bridge, inbound, port)) : []),
      ...(isLimit(outbound) ? [dropStep(bridge, [], 'ingress', outbound)] : []),
    ],
  };
}

/** A guest with a share of its own comes; `ports` are those that there are then. */
export function planPlug(bridge: string, inbound: Rate, port: FloorPort, ports: readonly FloorPort[]): TrafficPlan {
  return { device: bridge, steps: [...portSteps(bridge, inbound, port), restStep(bridge, inbound, ports)] };
}

/** It goes; `ports` are those that stay. */
export function planUnplug(bridge: string, inbound: Rate, classId: number, ports: readonly FloorPort[]): TrafficPlan {
  const id = classId.toString(16);
  const before = [
    `filter del dev ${bridge} parent 1: protocol all prio 2 handle 800::${id} u32`,
    `qdisc del dev ${bridge} parent 1:${id}`,
    `class del dev ${bridge} classid 1:${id}`,
  ];
  return { device: bridge, steps: [{ before, commands: [] }, restStep(bridge, inbound, ports)] };
}

/** What the ports have together. */
export function floorSum(ports: readonly FloorPort[]): number {
  return ports.reduce((sum, { floor }) => sum + floor, 0);
}

export function isLimit(rate: Rate | undefined): rate is Rate & { average: number } {
  return (rate?.average ?? 0) > 0;
}

/** As shell commands. */
export function formatTrafficPlan({ steps }: TrafficPlan): string {
  const lines = steps.flatMap(({ before, commands, optional }) => [
    ...before.map((line) => `tc ${line} 2>/dev/null`),
    ...commands.map((line) => `tc ${line}${optional === true ? '   # if the kernel can' : ''}`),
  ]);
  return lines.map((line) => `${line}\n`).join('');
}

function portSteps(bridge: string, inbound: Rate, { classId, mac, floor }: FloorPort): TrafficStep[] {
  const id = classId.toString(16);
  const bytes = mac.toLowerCase().split(':');
  const first = bytes.slice(0, 2).join('');
  const last = bytes.slice(2).join('');
  const match = `match u16 0x${first} 0xffff at -14 match u32 0x${last} 0xffffffff at -12`;
  return [
    {
      before: [],
      commands: [
        classLine('add', bridge, `1:${TOTAL_CLASS}`, classId, {
          average: floor,
          peak: inbound.peak ?? inbound.average,
        }),
        `filter add dev ${bridge} parent 1: protocol all prio 2 handle 800::${id} u32 ${match} flowid 1:${id}`,
      ],
    },
    fair(bridge, classId),
  ];
}

function restStep(bridge: string, inbound: Rate, ports: readonly FloorPort[]): TrafficStep {
  return {
    before: [],
    commands: [classLine('change', bridge, `1:${TOTAL_CLASS}`, REST_CLASS, restOf(inbound, ports))],
  };
}

/** What no guest has a share of; it may borrow what they do not use. */
function restOf(inbound: Rate, ports: readonly FloorPort[]): Rate {
  const { average = 0, peak = average, burst } = inbound;
  return { average: Math.max(1, average - floorSum(ports)), peak, burst };
}

function classLine(action: 'add' | 'change', device: string, parent: string, id: number, rate: Rate): string {
  const { average = 0, peak, burst } = rate;
  const quantum = Math.min(QUANTUM.max, Math.max(QUANTUM.min, Math.round((average * BYTES_PER_KILOBYTE) / 10)));
  return [
    `class ${action} dev ${device} parent ${parent} classid 1:${id.toString(16)} htb rate ${average}kbps`,
    ...(peak === undefined || peak === 0 ? [] : [`ceil ${peak}kbps`]),
    ...(burst === undefined || burst === 0 ? [] : [`burst ${burst}kb`]),
    `quantum ${quantum}`,
  ].join(' ');
}

/** Connections of one class take turns. */
function fair(device: string, id: number): TrafficStep {
  const hex = id.toString(16);
  const handle = id === TOTAL_CLASS ? '2' : hex;
  return {
    before: [],
    commands: [`qdisc add dev ${device} parent 1:${hex} handle ${handle}: sfq perturb 10`],
    optional: true,
  };
}

/** What comes in cannot be queued: it has crossed the wire already. */
function dropStep(
  device: string,
  before: readonly string[],
  where: string,
  { average, burst }: Rate & { average: number },
): TrafficStep {
  const allowed = (burst ?? 0) === 0 ? average : (burst ?? 0);
  return {
    before,
    commands: [
      `filter add dev ${device} ${where} protocol all u32 match u32 0 0 police rate ${average}kbps burst ${allowed}kb mtu ${LONGEST_PACKET} drop flowid :1`,
    ],
    instead: `${nftLimitRemoval(device)}table netdev ${tableName(device)} {
  chain ingress {
    type filter hook ingress device "${device}" priority 0; policy accept;
    limit rate over ${average * BYTES_PER_KILOBYTE} bytes/second burst ${allowed * 1024} bytes drop
  }
}
`,
  };
}

/** Removes the table of a device whether it is there or not. */
export function nftLimitRemoval(device: string): string {
  const name = `netdev ${tableName(device)}`;
  return `add table ${name}\ndelete table ${name}\n`;
}
