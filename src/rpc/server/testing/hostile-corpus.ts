/** Bytes that once hurt, or were made to: sent after a driver has been opened. Whatever the fuzzer finds is added here. */

const CALL_HEADER = '2000808600000001';

/** By what they are; hexadecimal. */
export const CORPUS: Readonly<Record<string, string>> = {
  'half a length': '0000',
  'half a message': `00000100${CALL_HEADER}`,
  'a hole of 2^63 - 1 bytes in a stream that is not open': `00000028${CALL_HEADER}000000c90000000600000007000000027fffffffffffffff00000000`,
  'a list with a length of 2^32 - 1': `00000024${CALL_HEADER}00000180000000000000000200000000ffffffff0000000000000000`,
  'an auth step out of step': `00000024${CALL_HEADER}00000045000000000000000200000000000000000000000000000000`,
  'a goodbye, and a call after it': `0000001c${CALL_HEADER}000000020000000000000002000000000000001c`,
};
