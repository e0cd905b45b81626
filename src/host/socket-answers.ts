/** Whether somebody listens behind a Unix socket: one that is there may be a dead daemon's. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';

/** Connects and hangs up; never fails. */
export async function socketAnswers(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
