/** What the groups of a remote driver share: calls about one domain, and lists of typed parameters. */
import type { AffectOptions, DomainIdentity, TypedParameters, Waiting } from '../../driver/driver.ts';
import { fromTypedParams, type Procedure, type TypedParam, toTypedParams } from '../../protocol/index.ts';
import { affectToFlags, type WireDomain } from '../convert.ts';
import type { CallOptions, RpcClient } from './rpc-client.ts';

export interface RemoteCalls {
  readonly client: RpcClient;
  /** A call after those that must be known to the server before (event registrations). */
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R>;
  /** The domain as the server knows it: its procedures take name and UUID. */
  domain(uuid: string, options?: Waiting): Promise<WireDomain>;
  remember(domain: WireDomain): DomainIdentity;
}

/** Procedures that read a list of parameters of a domain. */
type ReadsParams<X extends object> = Procedure<
  { readonly dom: WireDomain; readonly nparams: number; readonly flags: number } & X,
  { readonly params: readonly TypedParam[] }
>;

/** Asked with the most that there can be, so that one call is enough. */
export async function readParams<X extends object>(
  calls: RemoteCalls,
  procedure: ReadsParams<X>,
  uuid: string,
  extra: X,
  { max, ...options }: AffectOptions & { readonly max: number },
): Promise<TypedParameters> {
  const args = { dom: await calls.domain(uuid, options), nparams: max, flags: affectToFlags(options), ...extra };
  return fromTypedParams((await calls.call(procedure, args, options)).params);
}

/** Procedures that set some of them. */
type WritesParams<X extends object> = Procedure<
  { readonly dom: WireDomain; readonly params: readonly TypedParam[]; readonly flags: number } & X,
  unknown
>;

export async function writeParams<X extends object>(
  calls: RemoteCalls,
  procedure: WritesParams<X>,
  uuid: string,
  extra: X,
  parameters: TypedParameters,
  options: AffectOptions = {},
): Promise<void> {
  const args = {
    dom: await calls.domain(uuid, options),
    params: toTypedParams(parameters),
    flags: affectToFlags(options),
    ...extra,
  };
  await calls.call(procedure, args, options);
}
