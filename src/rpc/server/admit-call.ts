/**
 * Which procedure a call is for, and whether its client may call it: the one place that keeps strangers from everything and read-only
 * connections from changing anything and from seeing secrets.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { type Header, PROGRAM_VERSION } from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';
import { notServed, rpcError } from './error-text.ts';
import type { Served } from './procedures.ts';

/** What is to be known of the caller. */
export interface Caller {
  /** It has proved who it is, or need not. */
  readonly isKnown: boolean;
  /** The server stops, and waits for farewells only. */
  readonly isLeaving: boolean;
}

/** What a client calls that takes leave. */
const FAREWELL = /^connect(?:Close|UnregisterCloseCallback|.*Deregister.*)$/;

/** @throws VirtError where there is none, or not for this caller now */
export function findProcedure(
  programs: ReadonlyMap<number, ReadonlyMap<number, Served>>,
  { program, version, procedure }: Header,
  caller: Caller,
): Served {
  const procedures = programs.get(program);
  if (procedures === undefined || version !== PROGRAM_VERSION) {
    throw rpcError(`Cannot find program ${program} version ${version}`);
  }
  const served = procedures.get(procedure);
  if (served === undefined) throw rpcError(`unknown procedure: ${procedure}`);
  if (!caller.isKnown && !served.isOpenToAll) {
    throw new VirtError('authentication required', { code: ErrorCode.RPC, domain: ErrorDomain.RPC });
  }
  if (caller.isLeaving && !FAREWELL.test(served.name)) throw rpcError('the server stops: it begins no calls any more');
  return served;
}

/** The call's arguments, and what carries it out. @throws VirtError OPERATION_DENIED, NO_SUPPORT; XdrError */
export function admitCall(
  served: Served,
  payload: XdrReader,
  isReadOnly: boolean,
): { readonly args: unknown; readonly handler: NonNullable<Served['handler']> } {
  const { api, handler, writes, writesWhen } = served;
  if (isReadOnly && writes) throw denied(api);
  if (handler === undefined) throw notServed(served);
  const args = served.args.read(payload);
  if (isReadOnly && writesWhen?.(args as never) === true) throw denied(`${api} with these arguments`);
  return { args, handler };
}

function denied(what: string): VirtError {
  return new VirtError(`read only access prevents ${what}`, {
    code: ErrorCode.OPERATION_DENIED,
    domain: ErrorDomain.RPC,
  });
}
