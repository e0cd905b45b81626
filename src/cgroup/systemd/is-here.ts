/** Whether systemd runs this host. By itself, so that asking loads nothing else. */
import { existsSync } from 'node:fs';

/** systemd makes it when it is PID 1. */
const RUNTIME = '/run/systemd/system';

export function isSystemdHere(runtime = RUNTIME): boolean {
  return existsSync(runtime);
}
