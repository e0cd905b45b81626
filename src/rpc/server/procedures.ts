/** What is served: for each program, the function behind each procedure number. Made once, when the first client comes. */
import { LXC_PROCEDURES, Program, QEMU_PROCEDURES, REMOTE_PROCEDURES, type Row } from '../../protocol/index.ts';
import type { Codec } from '../../xdr/codec.ts';
import { authHandlers } from './authentication.ts';
import {
  domainEventHandlers,
  monitorEventHandlers,
  networkEventHandlers,
  nodeDeviceEventHandlers,
  poolEventHandlers,
  secretEventHandlers,
} from './event-handlers.ts';
import { connectHandlers } from './handlers/connect.ts';
import { deviceHandlers } from './handlers/devices.ts';
import { inspectionHandlers } from './handlers/inspection.ts';
import { interfaceHandlers } from './handlers/interfaces.ts';
import { lifecycleHandlers } from './handlers/lifecycle.ts';
import { lxcHandlers } from './handlers/lxc.ts';
import { networkHandlers } from './handlers/networks.ts';
import { nodeHandlers } from './handlers/node.ts';
import { nodeDeviceHandlers } from './handlers/node-devices.ts';
import { nwfilterHandlers } from './handlers/nwfilters.ts';
import { qemuHandlers } from './handlers/qemu.ts';
import { secretHandlers } from './handlers/secrets.ts';
import { storageHandlers } from './handlers/storage.ts';
import { tuningHandlers } from './handlers/tuning.ts';
import { sessionHandlers } from './session-handlers.ts';

/** A procedure as the dispatcher needs it. */
export interface Served {
  readonly name: string;
  readonly api: string;
  readonly writes: boolean;
  /** With such arguments it is not for read-only connections. */
  readonly writesWhen: ((args: never) => boolean) | undefined;
  readonly args: Codec<unknown>;
  readonly ret: Codec<unknown>;
  /** Undefined: the procedure is known, but not served. */
  readonly handler: ((session: never, args: never) => unknown) | undefined;
  /** It opens a stream. */
  readonly stream: boolean;
  /** Its reply brings descriptors. */
  readonly descriptors: boolean;
  /** May be called before the client has proved who it is. */
  readonly isOpenToAll: boolean;
}

/** The handlers of each program, by the names of the tables. */
const HANDLERS = {
  [Program.REMOTE]: [
    REMOTE_PROCEDURES,
    {
      ...sessionHandlers,
      ...authHandlers,
      ...connectHandlers,
      ...lifecycleHandlers,
      ...deviceHandlers,
      ...tuningHandlers,
      ...inspectionHandlers,
      ...nodeHandlers,
      ...nodeDeviceHandlers,
      ...interfaceHandlers,
      ...nwfilterHandlers,
      ...networkHandlers,
      ...secretHandlers,
      ...domainEventHandlers,
      ...networkEventHandlers,
      ...secretEventHandlers,
      ...nodeDeviceEventHandlers,
      ...storageHandlers,
      ...poolEventHandlers,
    },
  ],
  [Program.QEMU]: [QEMU_PROCEDURES, { ...qemuHandlers, ...monitorEventHandlers }],
  [Program.LXC]: [LXC_PROCEDURES, lxcHandlers],
} as const;

type Table = Readonly<Record<string, Row>>;
type HandlerTable = Readonly<Record<string, Served['handler']>>;

/** By program and number. */
export function servedProcedures(): ReadonlyMap<number, ReadonlyMap<number, Served>> {
  const programs = new Map<number, ReadonlyMap<number, Served>>();
  for (const [program, [table, handlers]] of Object.entries(HANDLERS)) {
    programs.set(Number(program), byNumber(table, handlers));
  }
  return programs;
}

function byNumber(table: Table, handlers: HandlerTable): ReadonlyMap<number, Served> {
  const found = new Map<number, Served>();
  for (const [name, row] of Object.entries(table)) {
    if (row.kind === 'event') continue;
    found.set(row.number, {
      name,
      api: row.api,
      writes: row.writes,
      writesWhen: row.writesWhen,
      args: row.args,
      ret: row.ret,
      handler: handlers[name],
      stream: row.stream !== undefined,
      descriptors: row.descriptors === true,
      isOpenToAll: OPEN_TO_ALL.has(name),
    });
  }
  return found;
}

/** What must be possible to prove who one is, and the question whether the server keeps links alive. */
const OPEN_TO_ALL: ReadonlySet<string> = new Set([
  'authList',
  'authSaslInit',
  'authSaslStart',
  'authSaslStep',
  'connectSupportsFeature',
]);
