/** How a procedure of the protocol is declared: a row of the tables beside this file. */
import { type Codec, struct } from '../xdr/codec.ts';

/** A call and its reply. */
export interface Procedure<A = unknown, R = unknown> {
  readonly kind: 'call';
  readonly number: number;
  /** The function of libvirt's API that it carries, as errors name it. */
  readonly api: string;
  readonly args: Codec<A>;
  readonly ret: Codec<R>;
  /** A read-only connection may not call it. */
  readonly writes: boolean;
  /** It may call it, but not with such arguments: they show secrets or reach into the guest. */
  writesWhen?(this: void, args: A): boolean;
  /** It opens a stream, which the client reads or writes. */
  readonly stream?: 'read' | 'write';
  /** Its reply brings descriptors. */
  readonly descriptors?: boolean;
}

/** A message from the server that nobody asked for. */
export interface EventMessage<M = unknown> {
  readonly kind: 'event';
  readonly number: number;
  readonly message: Codec<M>;
}

export type Row = Procedure<never, never> | Procedure | EventMessage<never> | EventMessage;

export type ArgsOf<P> = P extends Procedure<infer A, infer _> ? A : never;
export type ReturnOf<P> = P extends Procedure<infer _, infer R> ? R : never;
export type MessageOf<E> = E extends EventMessage<infer M> ? M : never;

type Fields<F> = { readonly [Name in keyof F]: Codec<F[Name]> };

/** No fields: neither arguments nor a reply need have any. */
export const none = {};

/** Declares a call; `args` and `ret` are fields in wire order. */
export function call<A extends Record<string, unknown>, R extends Record<string, unknown>>(
  number: number,
  api: string,
  args: Fields<A>,
  ret: Fields<R>,
  {
    writes = false,
    ...more
  }: {
    readonly writes?: boolean;
    readonly writesWhen?: (args: Readonly<A>) => boolean;
    readonly stream?: 'read' | 'write';
    readonly descriptors?: boolean;
  } = {},
): Procedure<Readonly<A>, Readonly<R>> {
  return { kind: 'call', number, api, args: struct(args), ret: struct(ret), writes, ...more };
}

export function event<M extends Record<string, unknown>>(number: number, fields: Fields<M>): EventMessage<Readonly<M>> {
  return { kind: 'event', number, message: struct(fields) };
}
