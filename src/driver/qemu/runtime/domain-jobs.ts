/**
 * What takes long of a domain: saving and dumping. Who asks sees how far it is, and may end it; how the last one went is kept until
 * somebody has asked. One at a time for each domain.
 */
import { monotonicMs } from '../../../core/clock.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { memberOf } from '../../../core/members.ts';
import type { TypedParameters } from '../../driver.ts';
import type { JobStats } from '../../inspection-operations.ts';
import type { DomainRecord } from './qemu-record.ts';

/** virDomainJobOperation. */
export const JobOperation = { SAVE: 2, DUMP: 8 } as const;
export type JobOperation = (typeof JobOperation)[keyof typeof JobOperation];

const OPERATION_NAMES: Readonly<Record<JobOperation, string>> = { 2: 'save', 8: 'dump' };

/** Jobs are told in numbers only. */
export type Numbers = Readonly<Record<string, number | bigint>>;

/** QEMU's word on how far it is, as libvirt's parameters. */
export type ReadProgress = () => Promise<TypedParameters>;

export interface ActiveJob extends Disposable {
  readonly operation: JobOperation;
  /** Fires when somebody has asked for the job's end. */
  readonly aborted: AbortSignal;
  /** From when on there is something to read. @param canAbort false: QEMU does not stop it */
  follow(read: ReadProgress, options: { readonly canAbort: boolean }): void;
  /** It went well. @returns what is told of it from now on */
  complete(parameters: Numbers): Numbers;
}

export class DomainJobs {
  readonly #active = new WeakMap<DomainRecord, Job>();
  readonly #completed = new WeakMap<DomainRecord, TypedParameters>();

  /** The caller holds the domain's lock. */
  begin(record: DomainRecord, operation: JobOperation): ActiveJob {
    const job = new Job(operation, (parameters) => {
      this.#active.delete(record);
      if (parameters === undefined) this.#completed.delete(record);
      else this.#completed.set(record, parameters);
    });
    this.#active.set(record, job);
    return job;
  }

  /** Milliseconds for which the domain has a job; undefined where it has none. */
  activeForMs(record: DomainRecord): number | undefined {
    const job = this.#active.get(record);
    return job === undefined ? undefined : monotonicMs() - job.startedAtMs;
  }

  async stats(record: DomainRecord, { completed = false, keep = false } = {}): Promise<JobStats> {
    if (completed) {
      const parameters = this.#completed.get(record);
      if (!keep) this.#completed.delete(record);
      return parameters === undefined ? { type: 'none', parameters: {} } : { type: 'completed', parameters };
    }
    const job = this.#active.get(record);
    return job === undefined ? { type: 'none', parameters: {} } : { type: 'unbounded', parameters: await job.read() };
  }

  /** Asks for the end; the job itself tells its caller. @throws VirtError OPERATION_INVALID */
  abort(record: DomainRecord): void {
    const job = this.#active.get(record);
    if (job === undefined) throw invalid('no job is active on the domain');
    job.abort();
  }
}

class Job implements ActiveJob {
  readonly operation: JobOperation;
  readonly startedAtMs = monotonicMs();
  readonly #controller = new AbortController();
  readonly #finish: (parameters: TypedParameters | undefined) => void;
  #read: ReadProgress | undefined;
  #canAbort = true;
  #result: Numbers | undefined;

  constructor(operation: JobOperation, finish: (parameters: TypedParameters | undefined) => void) {
    this.operation = operation;
    this.#finish = finish;
  }

  get aborted(): AbortSignal {
    return this.#controller.signal;
  }

  follow(read: ReadProgress, { canAbort }: { readonly canAbort: boolean }): void {
    this.#read = read;
    this.#canAbort = canAbort;
  }

  complete(parameters: Numbers): Numbers {
    this.#result = { ...this.#basics(), ...parameters };
    return this.#result;
  }

  async read(): Promise<TypedParameters> {
    return { ...this.#basics(), ...(await this.#read?.()) };
  }

  abort(): void {
    const name = OPERATION_NAMES[this.operation];
    if (!this.#canAbort) throw invalid(`cannot abort a memory-only ${name}`);
    this.#controller.abort(
      new VirtError(`operation aborted: domain ${name} job: canceled by client`, {
        code: ErrorCode.OPERATION_ABORTED,
        domain: ErrorDomain.QEMU,
      }),
    );
  }

  [Symbol.dispose](): void {
    this.#finish(this.#result);
  }

  #basics(): Numbers {
    return { operation: this.operation, time_elapsed: BigInt(Math.round(monotonicMs() - this.startedAtMs)) };
  }
}

/** `query-migrate` as parameters. */
export function migrationProgress(reply: unknown): Numbers {
  const ram = memberOf(reply, 'ram');
  const found: Record<string, bigint> = {};
  const put = (name: string, value: unknown): void => {
    if (typeof value === 'number') found[name] = BigInt(Math.trunc(value));
  };
  put('setup_time', memberOf(reply, 'setup-time'));
  put('downtime', memberOf(reply, 'downtime') ?? memberOf(reply, 'expected-downtime'));
  if (ram === undefined) return found;
  for (const kind of ['data', 'memory']) {
    put(`${kind}_total`, memberOf(ram, 'total'));
    put(`${kind}_processed`, memberOf(ram, 'transferred'));
    put(`${kind}_remaining`, memberOf(ram, 'remaining'));
  }
  const mbps = memberOf(ram, 'mbps');
  if (typeof mbps === 'number') put('memory_bps', (mbps * 1000 * 1000) / 8);
  put('memory_constant', memberOf(ram, 'duplicate'));
  put('memory_normal', memberOf(ram, 'normal'));
  put('memory_normal_bytes', memberOf(ram, 'normal-bytes'));
  put('memory_dirty_rate', memberOf(ram, 'dirty-pages-rate'));
  put('memory_page_size', memberOf(ram, 'page-size'));
  put('memory_iteration', memberOf(ram, 'dirty-sync-count'));
  put('memory_postcopy_requests', memberOf(ram, 'postcopy-requests'));
  return found;
}

/** `query-dump` as parameters. */
export function dumpProgress(reply: unknown): Numbers {
  const [total, completed] = [memberOf(reply, 'total'), memberOf(reply, 'completed')];
  if (typeof total !== 'number' || typeof completed !== 'number') return {};
  const sizes = { total: BigInt(total), processed: BigInt(completed), remaining: BigInt(total - completed) };
  return Object.fromEntries(
    ['data', 'memory'].flatMap((kind) => Object.entries(sizes).map(([name, value]) => [`${kind}_${name}`, value])),
  );
}

function invalid(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}
