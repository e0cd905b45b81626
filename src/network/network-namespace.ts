/** Which network namespace this process is in: rules and limits of one mean nothing in another. */
import { readlinkSync } from 'node:fs';

/** `net:[4026531840]`; empty where /proc is not mounted. */
export function networkNamespace(proc = '/proc'): string {
  try {
    return readlinkSync(`${proc}/self/ns/net`);
  } catch {
    // Without /proc nothing is told apart.
    return '';
  }
}
