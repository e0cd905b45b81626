/** Where a driver's embedded containers come from: the kernel ends them with it, and it with us. */
import type { ChildHandle } from '../../../process/child-handle.ts';
import { inheritedContext, Nursery, type NurseryChild, type NurserySpec } from '../../../process/nursery.ts';
import { planNursery } from '../plan/outer-command.ts';
import { letBeRoot, readPerson } from './start-person.ts';

interface Latest {
  readonly context: string;
  readonly opened: Promise<Nursery>;
  nursery?: Nursery;
}

export class ContainerNurseries implements AsyncDisposable {
  #latest: Latest | undefined;

  /** Whether there can be any. */
  readonly arePossible = Nursery.isPossible();

  /**
   * What comes out of one has what this process has now: its groups, limits, priority and CPUs.
   * @throws ProcessError, VirtError, the signal's reason
   */
  async start(spec: NurserySpec, signal: AbortSignal | undefined): Promise<NurseryChild> {
    for (;;) {
      const nursery = await this.#get();
      // Another start may have found out by now that this process has changed. One that has ended says why.
      if (!nursery.isLeaving || nursery.hasEnded) return await nursery.start(spec, signal);
    }
  }

  async #get(): Promise<Nursery> {
    const context = inheritedContext();
    const isUsable = this.#latest?.context === context && this.#latest.nursery?.hasEnded !== true;
    const latest = isUsable && this.#latest !== undefined ? this.#latest : this.#replace(context);
    try {
      latest.nursery = await latest.opened;
      return latest.nursery;
    } catch (error) {
      if (this.#latest === latest) this.#latest = undefined;
      throw error;
    }
  }

  /** Makes it before it is needed. */
  warm(): void {
    if (!this.arePossible || this.#latest !== undefined) return;
    // Whoever needs it is told.
    this.#get().catch(() => {});
  }

  #replace(context: string): Latest {
    this.#latest?.opened.then(
      (nursery) => nursery.retire(),
      // It was never there.
      () => {},
    );
    const person = readPerson();
    const around = planNursery({ unprivileged: person !== undefined });
    const introduce =
      person === undefined
        ? {}
        : { introduce: async (child: ChildHandle) => await letBeRoot(child, person, undefined) };
    const opened = Nursery.open({ around, ...introduce });
    // Each start that waits for it is told.
    opened.catch(() => {});
    this.#latest = { context, opened };
    return this.#latest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const latest = this.#latest;
    this.#latest = undefined;
    // One that could not be made needs no end.
    const nursery = await latest?.opened.catch(() => undefined);
    await nursery?.[Symbol.asyncDispose]();
  }
}
