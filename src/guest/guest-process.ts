/** The outermost process of a guest: our child, or one that an earlier daemon has started. */
import type { ChildHandle } from '../process/child-handle.ts';

export type GuestProcess = Pick<ChildHandle, 'pid' | 'identity' | 'exited' | 'result' | 'terminate' | 'release'>;
