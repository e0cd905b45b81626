/**
 * What is wrong with a definition, gathered rather than thrown one by one, and where each parsed object came
 * from. Used by the schema reader and by every validation after it.
 */

/** One thing that is wrong, with the element it concerns. */
export interface Fault {
  /** Element path such as `domain/devices/disk[2]/driver/@cache`. */
  readonly path: string;
  /** 1-based line and column in the source text; 0 when the object was made by a program. */
  readonly line: number;
  readonly column: number;
  /** A sentence without its position. */
  readonly message: string;
}

/** Where an object was read. */
export interface SourcePosition {
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

/** Key under which the reader keeps the position on each object that it makes (not enumerable). */
export const SOURCE = Symbol('source');

const NOWHERE: SourcePosition = { path: '', line: 0, column: 0 };

/** The position of a parsed object, or of nothing for one made by a program. */
export function sourceOf(value: object): SourcePosition {
  return (value as { [SOURCE]?: SourcePosition })[SOURCE] ?? NOWHERE;
}

/** Collects the faults of one definition. */
export class FaultList {
  readonly faults: Fault[] = [];

  /** Adds a fault at a parsed object, or at one of its attributes or children (`field`). */
  add(where: object | SourcePosition, message: string, field = ''): void {
    const position = SOURCE in where ? sourceOf(where) : isPosition(where) ? where : NOWHERE;
    const path = field === '' ? position.path : `${position.path}/${field}`;
    // Two devices may share what is wrong (a console and the serial port that it is).
    if (this.faults.some((known) => known.path === path && known.message === message && path !== '')) return;
    this.faults.push({ path, line: position.line, column: position.column, message });
  }

  /** @throws {DefinitionError} when anything was added. */
  throwIfAny(what: string, fileName?: string): void {
    if (this.faults.length > 0) throw new DefinitionError(what, this.faults, fileName);
  }
}

function isPosition(value: object): value is SourcePosition {
  return 'path' in value && 'line' in value && 'column' in value;
}

/** A definition that is well-formed XML and still not valid: every fault at once, in the order of the text. */
export class DefinitionError extends Error {
  override readonly name = 'DefinitionError';
  readonly faults: readonly Fault[];

  constructor(what: string, faults: readonly Fault[], fileName?: string) {
    const sorted = [...faults].sort((a, b) => a.line - b.line || a.column - b.column);
    const lines = sorted.map((fault) => formatFault(fault, fileName));
    super(lines.length === 1 ? `invalid ${what}: ${lines[0]}` : `invalid ${what}:\n  ${lines.join('\n  ')}`);
    this.faults = sorted;
  }
}

/** `guest.xml:12:5: domain/os/type: message`, leaving out what is not known. */
export function formatFault(fault: Fault, fileName?: string): string {
  const position =
    fault.line > 0 ? `${fileName ?? 'line '}${fileName === undefined ? '' : ':'}${fault.line}:${fault.column}: ` : '';
  return `${position}${fault.path === '' ? '' : `${fault.path}: `}${fault.message}`;
}
