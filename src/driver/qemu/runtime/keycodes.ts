/** Keys by the numbers that clients send, as the numbers that QEMU takes (QKeyCode numbers: XT scan codes, extended ones with bit 7 set). */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { KeycodeSet } from '../../interaction-operations.ts';

/** Linux's input codes that are not the XT scan code of their key. */
const LINUX: Readonly<Record<number, number>> = {
  96: 0x9c,
  97: 0x9d,
  98: 0xb5,
  99: 0x54,
  100: 0xb8,
  102: 0xc7,
  103: 0xc8,
  104: 0xc9,
  105: 0xcb,
  106: 0xcd,
  107: 0xcf,
  108: 0xd0,
  109: 0xd1,
  110: 0xd2,
  111: 0xd3,
  113: 0xa0,
  114: 0xae,
  115: 0xb0,
  116: 0xde,
  117: 0x59,
  119: 0xc6,
  121: 0x7e,
  122: 0x72,
  123: 0x71,
  124: 0x7d,
  125: 0xdb,
  126: 0xdc,
  127: 0xdd,
  128: 0xe8,
  139: 0x9e,
  140: 0xa1,
  142: 0xdf,
  143: 0xe3,
  150: 0x82,
  155: 0xec,
  156: 0xe6,
  158: 0xea,
  159: 0xe9,
  163: 0x99,
  164: 0xa2,
  165: 0x90,
  166: 0xa4,
  172: 0xb2,
  173: 0xe7,
};
/** Up to here Linux counts as the XT keyboard does. */
const LINUX_SAME = 88;

/** @throws VirtError for a key or set of codes that is not known */
export function toQnum(code: number, codeset: KeycodeSet): number {
  const found = translate(code, codeset);
  if (found !== undefined && found > 0 && found <= 0xff) return found;
  throw new VirtError(`there is no key ${code} in the code set ${codeset}`, {
    code: ErrorCode.INVALID_ARG,
    domain: ErrorDomain.QEMU,
  });
}

function translate(code: number, codeset: KeycodeSet): number | undefined {
  switch (codeset) {
    case 'linux':
      return code <= LINUX_SAME ? code : LINUX[code];
    case 'qnum':
      return code;
    case 'xt':
    case 'atset1':
      // Extended codes have a prefix byte of 0xe0.
      return code > 0xff ? (code & 0x7f) | 0x80 : code & 0x7f;
    case 'xt_kbd':
      return code > 0xff ? (code & 0x7f) | 0x80 : code;
    default:
      throw new VirtError(`the code set ${codeset} is not supported: use linux, xt, atset1, xt_kbd or qnum`, {
        code: ErrorCode.ARGUMENT_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
  }
}
