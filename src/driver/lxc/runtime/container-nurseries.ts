/** Where a driver's embedded containers come from: the kernel ends them with it, and it with us. */
import type { ChildHandle } from '../../../process/child-handle.ts';
import { inheritedContext, Nursery } from '../../../process/nursery.ts';
import { planNursery } from '../plan/outer-command.ts';
import { letBeRoot, readPerson } from './start-person.ts';

export class ContainerNurseries implements AsyncDisposable {
  #latest: { readonly context: string; readonly opened: Promise<Nursery> } | undefined;

  /**
   * What comes out of it has what this process has now: its groups, limits, priority and CPUs. Undefined where there can be none.
   * @throws ProcessError, VirtError
   */
  async get(): Promise<Nursery | undefined> {
    if (!Nursery.isPossible()) return undefined;
    const context = inheritedContext();
    if (this.#latest?.context !== context) this.#replace(context);
    const latest = this.#latest;
    try {
      const nursery = await latest?.opened;
      if (nursery?.hasEnded !== true) return nursery;
    } catch (error) {
      if (this.#latest === latest) this.#latest = undefined;
      throw error;
    }
    if (this.#latest === latest) this.#latest = undefined;
    return await this.get();
  }

  /** Makes it before it is needed. */
  warm(): void {
    // Whoever needs it is told.
    if (this.#latest === undefined) this.get().catch(() => {});
  }

  #replace(context: string): void {
    this.#latest?.opened.then(
      (nursery) => nursery.retire(),
      () => {},
    );
    const person = readPerson();
    const around = planNursery({ unprivileged: person !== undefined });
    const introduce =
      person === undefined
        ? {}
        : { introduce: async (child: ChildHandle) => await letBeRoot(child, person, undefined) };
    const opened = Nursery.open({ around, ...introduce });
    opened.catch(() => {});
    this.#latest = { context, opened };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const latest = this.#latest;
    this.#latest = undefined;
    const nursery = await latest?.opened.catch(() => undefined);
    await nursery?.[Symbol.asyncDispose]();
  }
}
