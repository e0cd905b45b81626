/** `-mem-path` and `-mem-prealloc`: how memory without a backend object is placed, for old machine types. */
import type { PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import { hugepageDir, memoryBackingDir } from './memory-backend.ts';

/** Nothing for plain memory that QEMU fills as the guest uses it. */
export function planLegacyMemoryPath(context: PlanContext): Part[] {
  const { memoryBacking } = context.domain;
  const { hugepages, source, allocation } = memoryBacking ?? {};
  const pageKiB = hugepages?.pages[0]?.size ?? 0;
  const isHuge = hugepages !== undefined && pageKiB !== context.host.pageSizesKiB[0];
  let path: string | undefined;
  if (isHuge) path = hugepageDir(context, pageKiB);
  else if (source?.type === 'file') path = `${memoryBackingDir(context)}/ram`;
  const parts: Part[] = [];
  if (isHuge || allocation?.mode === 'immediate') parts.push({ kind: 'option', option: 'mem-prealloc' });
  // Not `option`: a path may hold anything, and -mem-path takes its argument as it is.
  if (path !== undefined) parts.push({ kind: 'option', option: 'mem-path', value: path });
  return parts;
}
