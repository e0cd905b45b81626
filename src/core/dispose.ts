/**
 * A stack of undo steps, because Node 20 has no `AsyncDisposableStack`: what a multi-step start pushes on and a failure
 * runs backwards. It has only what Nestling uses of the proposal.
 */

/** One or more undo steps failed; all the others ran. `errors` holds the failures in the order in which they happened. */
export class DisposalError extends AggregateError {
  override readonly name = 'DisposalError';

  constructor(errors: readonly unknown[]) {
    const words = errors.map((error) => (error instanceof Error ? error.message : String(error)));
    super(errors, `cannot undo everything: ${words.join('; ')}`);
  }
}

export class DisposalStack implements AsyncDisposable {
  #steps: (() => unknown)[] = [];
  #disposal: Promise<void> | undefined;

  /** True once disposal has begun or the steps have moved on. */
  get disposed(): boolean {
    return this.#disposal !== undefined;
  }

  /** Adds an undo step. */
  defer(step: () => unknown): void {
    this.#requireOpen();
    this.#steps.push(step);
  }

  /** Owns `resource` and returns it; null and undefined pass through. */
  use<T extends AsyncDisposable | Disposable | null | undefined>(resource: T): T {
    this.#requireOpen();
    if (resource === null || resource === undefined) return resource;
    if (Symbol.asyncDispose in resource) this.#steps.push(() => resource[Symbol.asyncDispose]());
    else this.#steps.push(() => resource[Symbol.dispose]());
    return resource;
  }

  /** Hands all steps over to a new stack: the end of a start that succeeded. This one is then empty and disposed. */
  move(): DisposalStack {
    this.#requireOpen();
    const heir = new DisposalStack();
    heir.#steps = this.#steps;
    this.#steps = [];
    this.#disposal = Promise.resolve();
    return heir;
  }

  /**
   * Runs the steps, last first, one after the other. Later calls wait for the first and do not repeat its error.
   * @throws DisposalError when steps failed
   */
  [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposal !== undefined) {
      // The first caller was given the error; a second report of it would only shadow the first.
      return this.#disposal.catch(() => {});
    }
    this.#disposal = this.#run();
    return this.#disposal;
  }

  async #run(): Promise<void> {
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new DisposalError(errors);
  }

  /** What is acquired after disposal would never be released: the caller must do that and is told so. */
  #requireOpen(): void {
    if (this.disposed) throw new ReferenceError('cannot add to a disposal stack that is already disposed');
  }
}

/**
 * Disposes of what was made before something failed. That failure is the one that counts: what cannot be undone is told to `onProblem`, and
 * not thrown in its place.
 */
export async function abandon(
  resource: AsyncDisposable | undefined,
  onProblem: (problem: string) => void = () => undefined,
): Promise<void> {
  try {
    await resource?.[Symbol.asyncDispose]();
  } catch (error) {
    onProblem(error instanceof Error ? error.message : String(error));
  }
}
