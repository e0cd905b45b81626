/** How procedures are served: a function for each row of the protocol's tables, and what all of them need. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { need, type OperationGroup } from '../../api/need.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { Driver, TypedParameters } from '../../driver/driver.ts';
import { type Procedure, type TypedParam, toTypedParams } from '../../protocol/index.ts';
import { uuidFromWire, type WireDomain } from '../convert.ts';
import type { ConsoleSessions } from './console-sessions.ts';

/** What a handler sees of the connection that calls it. */
export interface HandlerSession {
  /** @throws VirtError before the client has opened a driver */
  readonly driver: Driver;
  readonly isReadOnly: boolean;
  /** Nobody on the way can read along. */
  readonly isSecure: boolean;
  /** Consoles that clients of this server have open. */
  readonly consoles: ConsoleSessions;
  /** Ends with the connection. */
  readonly signal: AbortSignal;
  /** Joins a byte stream of ours with the stream that this call opens; after its reply. */
  attach(stream: Readable | Duplex | Writable): void;
  /** Sends descriptors with the reply of this call, and closes them then. @throws VirtError where the client is not on a UNIX socket */
  pass(fds: readonly number[]): void;
  /** Domains that end with this connection: the id of the run by UUID. */
  readonly autodestroy: Map<string, number>;
}

/** Functions for rows of a table; the rows without one are not served. */
export type Handlers<Table, Session = HandlerSession> = {
  readonly [Name in keyof Table]?: Table[Name] extends Procedure<infer A, infer R>
    ? (session: Session, args: A) => R | Promise<R>
    : never;
};

/** The reply of procedures that have none. */
export type Done = Readonly<Record<string, unknown>>;
export const DONE: Done = {};

/** The UUID by which drivers know the domain of a call. */
export function uuidOf(dom: WireDomain): string {
  return uuidFromWire(dom.uuid);
}

/** A group of operations. @throws VirtError NO_SUPPORT */
export function group<G extends OperationGroup>(session: HandlerSession, name: G): NonNullable<Driver[G]> {
  return need(session.driver, name);
}

/** @throws VirtError INVALID_ARG for flags that nobody here knows */
export function checkFlags(flags: number, known: number, api: string): void {
  const unknown = (flags & ~known) >>> 0;
  if (unknown === 0) return;
  throw new VirtError(`unsupported flags (0x${unknown.toString(16)}) in function ${api}`, {
    code: ErrorCode.INVALID_ARG,
    domain: ErrorDomain.QEMU,
  });
}

export function invalidArg(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.RPC });
}

/** At most `count` of a list, where the client says how many it takes. */
export function atMost<T>(items: readonly T[], count: number): readonly T[] {
  if (count < 0) throw invalidArg(`a negative number of items (${count})`);
  return items.length > count ? items.slice(0, count) : items;
}

/** The item of a list by number. @throws VirtError INVALID_ARG */
export function oneOf<T>(items: readonly T[], index: number, what: string): T {
  const found = items[index];
  if (found === undefined) throw invalidArg(`there is no ${what} ${index}`);
  return found;
}

/** At most as many as the client has room for. */
export function listParams(parameters: TypedParameters, nparams: number): readonly TypedParam[] {
  return toTypedParams(parameters).slice(0, Math.max(0, nparams));
}

/** A client that has room for none asks for the number. */
export function countedParams(
  parameters: TypedParameters,
  nparams: number,
): { params: readonly TypedParam[]; nparams: number } {
  const all = toTypedParams(parameters);
  return nparams === 0
    ? { params: [], nparams: all.length }
    : { params: listParams(parameters, nparams), nparams: Math.min(nparams, all.length) };
}
