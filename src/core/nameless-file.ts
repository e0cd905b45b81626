/** A file that goes with its last descriptor (O_TMPFILE of open(2), Linux 3.11): for a program's words that nobody may ever read. */
import { constants, openSync } from 'node:fs';
import { tmpdir } from 'node:os';

/** Without O_DIRECTORY, which belongs to it and has other numbers on other machines. */
const TMPFILE = 0o20_000_000;

/** For reading and writing, the caller's to close. Undefined where none of the usual folders can have one: some file systems cannot. */
export function openNamelessFile(folders: readonly string[] = ['/dev/shm', tmpdir()]): number | undefined {
  for (const folder of folders) {
    try {
      return openSync(folder, TMPFILE | constants.O_DIRECTORY | constants.O_RDWR, 0o600);
    } catch {
      // The next one.
    }
  }
  return undefined;
}
