/** How a long command says what it does: one line that is written over on a terminal, plain lines elsewhere. It knows nothing of the command. */

export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export class ProgressLine implements Disposable {
  readonly #output: ProgressOutput;
  #isShown = false;
  #last = '';

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  /** What is done now. The same text is not said twice in a row. */
  show(text: string): void {
    const clean = withoutControls(text);
    if (clean === this.#last) return;
    this.#last = clean;
    if (this.#output.isTTY !== true) {
      this.#output.write(`${clean}\n`);
      return;
    }
    this.#output.write(`\r\u001b[K${clean.slice(0, Math.max(1, (this.#output.columns ?? 80) - 1))}`);
    this.#isShown = true;
  }

  /** A line that stays. */
  note(text: string): void {
    this.clear();
    this.#output.write(`${withoutControls(text)}\n`);
  }

  /** Takes the line away, before something else is written. */
  clear(): void {
    if (this.#isShown) this.#output.write('\r\u001b[K');
    this.#isShown = false;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

/** What other programs say must not steer the terminal. */
function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}
