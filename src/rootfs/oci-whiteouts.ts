/**
 * OCI layers say by files named `.wh.NAME` that lower layers' NAME is gone, and by `.wh..wh..opq` that a folder hides all below it. Here both
 * become what overlayfs understands: a character device 0:0 in the place of what is gone.
 */
import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { findProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';
import { failed } from './image-store.ts';

const PREFIX = '.wh.';
const OPAQUE = '.wh..wh..opq';

/** Changes the unpacked layer in `folder`; `lower`: the unpacked ones below it. Follows no links. @throws VirtError when devices cannot be made */
export async function applyWhiteouts(folder: string, lower: readonly string[]): Promise<void> {
  const gone = new Set<string>();
  walk(folder, folder, lower, gone);
  for (const path of gone) {
    const { status, stderr } = await runCommand(findProgram('mknod'), [path, 'c', '0', '0']);
    if (status !== 0) throw failed(`cannot mark ${relative(folder, path)} as removed: ${stderr.trim()}`);
  }
}

function walk(at: string, folder: string, lower: readonly string[], gone: Set<string>): void {
  const entries = readdirSync(at, { withFileTypes: true });
  const names = new Set(entries.map(({ name }) => name));
  if (names.has(OPAQUE)) hideBelow(at, folder, lower, gone);
  for (const entry of entries) {
    const path = join(at, entry.name);
    if (entry.name.startsWith(PREFIX)) {
      rmSync(path, { force: true, recursive: true });
      const hidden = entry.name.slice(PREFIX.length);
      if (entry.name !== OPAQUE && hidden !== '' && hidden !== '.' && hidden !== '..' && !names.has(hidden))
        gone.add(join(at, hidden));
    } else if (entry.isDirectory()) {
      walk(path, folder, lower, gone);
    }
  }
}

/** Everything that lower layers have there, and that this one does not bring itself; in the folders that both have, likewise. */
function hideBelow(at: string, folder: string, lower: readonly string[], gone: Set<string>): void {
  const inside = relative(folder, at);
  for (const layer of lower) {
    for (const name of listPlainFolder(layer, inside)) {
      const own = lstatSync(join(at, name), { throwIfNoEntry: false });
      if (own === undefined) gone.add(join(at, name));
      else if (own.isDirectory()) hideBelow(join(at, name), folder, lower, gone);
    }
  }
}

/** Names in a folder that is reached without links; none where it is not. */
function listPlainFolder(layer: string, inside: string): string[] {
  let path = layer;
  for (const part of inside.split('/').filter((name) => name !== '')) {
    path = join(path, part);
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  }
  return readdirSync(path);
}
