/** I/O threads as `-object`, and the main loop's thread pool. */
import { iothreadIdsOf } from '../../../model/domain/iothread-ids.ts';
import { hasFeature } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

/** `main-loop` and `iothread` objects. */
export function planIothreads(context: PlanContext): Part[] {
  const { domain } = context;
  const pool = domain.defaultIothread;
  const parts: Part[] = [];
  if (pool?.threadPoolMin !== undefined || pool?.threadPoolMax !== undefined) {
    parts.push({ kind: 'object', props: { 'qom-type': 'main-loop', id: 'main-loop', ...poolProps(pool) } });
  }
  for (const id of iothreadIdsOf(domain)) {
    const own = domain.iothreadids?.iothreads.find((thread) => thread.id === id);
    const props: Props = {
      'qom-type': 'iothread',
      id: `iothread${id}`,
      ...poolProps(own ?? {}),
      'poll-max-ns': own?.poll?.max,
      'poll-grow': own?.poll?.grow,
      'poll-shrink': own?.poll?.shrink,
    };
    parts.push({ kind: 'object', props });
  }
  return parts;
}

/** The number of threads follows their list. */
export function fillIothreadDefaults({ domain }: DomainContext): void {
  const listed = domain.iothreadids?.iothreads;
  if (listed === undefined || listed.length === 0) return;
  const ids = iothreadIdsOf(domain);
  for (const id of ids.slice(listed.length)) listed.push({ id });
  domain.iothreads = ids.length;
}

/** Reports faults of `<iothreadids>` and `<defaultiothread>`. */
export function validateIothreads(context: DomainContext): void {
  const { domain, caps } = context;
  const seen = new Set<number>();
  for (const thread of domain.iothreadids?.iothreads ?? []) {
    if (seen.has(thread.id)) fault(context, thread, `I/O thread ${thread.id} is given more than once`, '@id');
    seen.add(thread.id);
    validatePool(context, thread, thread, hasFeature(caps, 'object-iothread-thread-pool-max'));
  }
  const { defaultIothread } = domain;
  if (defaultIothread !== undefined) {
    validatePool(context, defaultIothread, defaultIothread, hasFeature(caps, 'object-main-loop-thread-pool-max'));
  }
}

interface ThreadPool {
  readonly threadPoolMin?: number | undefined;
  readonly threadPoolMax?: number | undefined;
}

function poolProps({ threadPoolMin, threadPoolMax }: ThreadPool): Props {
  return { 'thread-pool-min': threadPoolMin, 'thread-pool-max': threadPoolMax };
}

function validatePool(context: DomainContext, where: object, pool: ThreadPool, isSupported: boolean): void {
  const { threadPoolMin, threadPoolMax } = pool;
  if (threadPoolMin === undefined && threadPoolMax === undefined) return;
  if (!isSupported) fault(context, where, `${context.caps.binary} has no bounds for this thread pool`);
  if (threadPoolMin !== undefined && threadPoolMax !== undefined && threadPoolMin > threadPoolMax) {
    fault(context, where, 'thread_pool_min is above thread_pool_max', '@thread_pool_min');
  }
}
