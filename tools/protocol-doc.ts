/**
 * Writes `docs/protocol.md`'s text from the tables of procedures and from what the server serves. Pure; the test beside it compares
 * the file with it, and `npx vitest run --project unit tools/protocol-doc.test.ts -u` writes the file anew.
 */
import type { EventMessage, Procedure, Row } from '../src/protocol/index.ts';

/** One program: its table, and which of its rows this version serves or sends. */
export interface DocumentedProgram {
  readonly title: string;
  readonly number: number;
  readonly rows: Readonly<Record<string, Row>>;
  readonly isServed: (name: string, row: Row) => boolean;
}

export function protocolDoc(programs: readonly DocumentedProgram[]): string {
  return `${[INTRODUCTION, ...programs.map(programText)].join('\n\n')}\n`;
}

const INTRODUCTION = `# What is served of libvirt's protocol

Generated from the tables in \`src/protocol\` and the handlers in \`src/rpc/server\`: change those, then run
\`npx vitest run --project unit tools/protocol-doc.test.ts -u\`.

The tables hold every procedure of libvirt 11.3.0 with its arguments and reply. Those that are not served answer libvirt's error
"this function is not supported by the connection driver" (VIR_ERR_NO_SUPPORT), and numbers that no table has answer "unknown
procedure", so that clients do what they do with an older libvirtd.

- **Read-only**: what a read-only connection gets. "no": refused with VIR_ERR_OPERATION_DENIED; "partly": refused with the flags or
  arguments that show secrets or ask the guest's agent.
- **Stream**: the call opens one; the client reads or writes it.`;

function programText({ title, number, rows, isServed }: DocumentedProgram): string {
  const all = Object.entries(rows).toSorted(([, a], [, b]) => a.number - b.number);
  const calls = all.filter((entry): entry is [string, Procedure] => entry[1].kind === 'call');
  const events = all.filter((entry): entry is [string, EventMessage] => entry[1].kind === 'event');
  const served = calls.filter(([name, row]) => isServed(name, row));
  const unserved = calls.filter(([name, row]) => !isServed(name, row));
  const sent = events.filter(([name, row]) => isServed(name, row));
  const unsent = events.filter(([name, row]) => !isServed(name, row));
  const parts = [
    `## ${title} (program 0x${number.toString(16)}, version 1)`,
    `${served.length} of ${calls.length} procedures are served${
      events.length === 0 ? '' : `, ${sent.length} of ${events.length} kinds of messages are sent`
    }.`,
  ];
  if (served.length > 0) parts.push(callTable(served));
  if (sent.length > 0) parts.push(`Messages that are sent to those who registered:\n\n${names(sent)}`);
  if (unserved.length > 0) parts.push(`### Not served\n\n${names(unserved)}`);
  if (unsent.length > 0) parts.push(`Messages that are never sent:\n\n${names(unsent)}`);
  return parts.join('\n\n');
}

function callTable(calls: readonly [string, Procedure][]): string {
  const lines = calls.map(
    ([name, { number, api, stream, ...row }]) =>
      `| ${number} | ${name} | ${api} | ${readOnlyOf(row)} | ${stream ?? ''} |`,
  );
  return ['| Number | Procedure | Function | Read-only | Stream |', '|---|---|---|---|---|', ...lines].join('\n');
}

function readOnlyOf(row: Pick<Procedure, 'writes' | 'writesWhen'>): string {
  if (row.writes) return 'no';
  return 'writesWhen' in row ? 'partly' : 'yes';
}

/** Several to a line, so that a change of one is seen in a diff. */
function names(rows: readonly [string, Row][]): string {
  const lines = [''];
  for (const [index, [name, { number }]] of rows.entries()) {
    const word = `${name} (${number})${index < rows.length - 1 ? ',' : ''}`;
    const line = lines.at(-1) ?? '';
    if (line.length + 1 + word.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.join('\n');
}

const LINE_WIDTH = 120;
