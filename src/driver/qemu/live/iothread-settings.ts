/** What can be set of an I/O thread: in a definition, and as properties of QEMU's object. Pure. */
import type { Domain } from '../../../model/domain/domain.ts';
import type { IothreadSettings } from '../../device-operations.ts';

/** Changes a definition whose `<iothreadids>` lists the thread. */
export function applyIothreadSettings(domain: Domain, id: number, settings: IothreadSettings): void {
  const thread = domain.iothreadids?.iothreads.find((one) => one.id === id);
  if (thread === undefined) return;
  const { pollMaxNs, pollGrow, pollShrink, threadPoolMin, threadPoolMax } = settings;
  const poll = {
    ...thread.poll,
    ...(pollMaxNs === undefined ? {} : { max: Number(pollMaxNs) }),
    ...(pollGrow === undefined ? {} : { grow: pollGrow }),
    ...(pollShrink === undefined ? {} : { shrink: pollShrink }),
  };
  if (Object.keys(poll).length > 0) thread.poll = poll;
  if (threadPoolMin !== undefined) thread.threadPoolMin = threadPoolMin;
  if (threadPoolMax !== undefined) thread.threadPoolMax = threadPoolMax;
}

/** In the order in which QEMU takes them: the most before the least, as the least may not be above it. */
export function iothreadProperties(settings: IothreadSettings): readonly (readonly [string, number])[] {
  const all = {
    'poll-max-ns': settings.pollMaxNs,
    'poll-grow': settings.pollGrow,
    'poll-shrink': settings.pollShrink,
    'thread-pool-max': settings.threadPoolMax,
    'thread-pool-min': settings.threadPoolMin,
  };
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)] as const]));
}
