/** Exit statuses that all commands share. `run` has more, see its help. */
import { ErrorCode, type VirtError } from '../core/errors.ts';

/** The guest, QEMU or the host failed. */
export const EXIT_FAILED = 1;
/** Wrong usage, an unreadable file, or invalid XML. */
export const EXIT_USAGE = 2;

/** What is wrong with the user's words is status 2, everything else 1. */
export function exitStatusOf({ code }: VirtError): number {
  return USERS_WORDS.has(code) ? EXIT_USAGE : EXIT_FAILED;
}

const USERS_WORDS: ReadonlySet<ErrorCode> = new Set([ErrorCode.XML_ERROR, ErrorCode.XML_DETAIL, ErrorCode.INVALID_ARG]);
