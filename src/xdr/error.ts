/** What is wrong with bytes or values that do not fit their declaration. */

/** `path`: the field, outermost first (`args.params[3].value`); `offset`: in the message, in bytes. */
export class XdrError extends Error {
  override readonly name = 'XdrError';
  readonly path: string;
  readonly offset: number;

  constructor(why: string, { path = '', offset = 0 }: { path?: string; offset?: number } = {}) {
    super(path === '' ? why : `${path}: ${why}`);
    this.path = path;
    this.offset = offset;
  }

  /** The same, seen from one level further out. */
  inside(name: string): XdrError {
    const glue = this.path === '' || this.path.startsWith('[') ? '' : '.';
    const why = this.path === '' ? this.message : this.message.slice(this.path.length + 2);
    return new XdrError(why, { path: name + glue + this.path, offset: this.offset });
  }
}
