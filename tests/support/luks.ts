/** Makes LUKS-encrypted images with qemu-img. */
import { spawnSync } from 'node:child_process';

/**
 * `qemu-img create ARGS`. It measures its own CPU time to choose the cost of the key, and gives up where the clock of a busy
 * machine has not moved in between; then it is asked again.
 */
export function createLuksImage(args: readonly string[]): void {
  for (let attempt = 1; ; attempt++) {
    const { status, stderr } = spawnSync('qemu-img', ['create', '-q', ...args], { encoding: 'utf8' });
    if (status === 0) return;
    if (attempt === 10 || !stderr.includes('accurate CPU usage')) throw new Error(`qemu-img create: ${stderr}`);
  }
}
