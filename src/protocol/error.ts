/** An error on the wire: libvirt's whole structure, to and from `VirtError`. */
import { type ErrorCode, type ErrorDomain, type ErrorLevel, VirtError } from '../core/errors.ts';
import { int, optional, struct, type Value } from '../xdr/codec.ts';
import { domain, network, optionalText } from './structs.ts';

/** virNetMessageError; `dom` and `net` are always absent nowadays. */
export const messageError = struct({
  code: int,
  domain: int,
  message: optionalText,
  level: int,
  dom: optional(domain),
  str1: optionalText,
  str2: optionalText,
  str3: optionalText,
  int1: int,
  int2: int,
  net: optional(network),
});
export type MessageError = Value<typeof messageError>;

/** `message`: with libvirt's prefix, where the caller adds one. */
export function errorToWire(error: VirtError, message = error.message): MessageError {
  return {
    code: error.code,
    domain: error.domain,
    message: text(message),
    level: error.level,
    dom: undefined,
    str1: text(error.str1 ?? message),
    str2: text(error.str2),
    str3: text(error.str3),
    int1: error.int1,
    int2: error.int2,
    net: undefined,
  };
}

/** Codes and domains that this version does not know are kept as they are. */
export function errorFromWire(error: MessageError): VirtError {
  return new VirtError(error.message ?? 'the server gives no reason', {
    code: error.code as ErrorCode,
    domain: error.domain as ErrorDomain,
    level: (error.level >= 0 && error.level <= 2 ? error.level : 2) as ErrorLevel,
    ...(error.str1 === undefined ? {} : { str1: error.str1 }),
    ...(error.str2 === undefined ? {} : { str2: error.str2 }),
    ...(error.str3 === undefined ? {} : { str3: error.str3 }),
    int1: error.int1,
    int2: error.int2,
  });
}

/** Texts for people need no more, and no NUL ends them early at the other side. */
const TEXT_MAX = 65_536;

function text(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  return value.replaceAll('\0', ' ').slice(0, TEXT_MAX);
}
