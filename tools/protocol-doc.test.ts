import { expect, it } from 'vitest';
import {
  type EventMessage,
  LXC_PROCEDURES,
  Program,
  QEMU_PROCEDURES,
  REMOTE_PROCEDURES,
  type Row,
} from '../src/protocol/index.ts';
import { WIRE_EVENTS } from '../src/rpc/domain-events.ts';
import { servedProcedures } from '../src/rpc/server/procedures.ts';
import { protocolDoc } from './protocol-doc.ts';

const SERVED = servedProcedures();
const DOMAIN_EVENTS = new Set<EventMessage>(WIRE_EVENTS.map(({ message }) => message));
/** Messages that come once their registration is served. */
const REGISTRATIONS = [
  [/^connectEventConnectionClosed$/, Program.REMOTE, REMOTE_PROCEDURES.connectRegisterCloseCallback],
  [/^secretEvent/, Program.REMOTE, REMOTE_PROCEDURES.connectSecretEventRegisterAny],
  [/^domainMonitorEvent$/, Program.QEMU, QEMU_PROCEDURES.connectDomainMonitorEventRegister],
] as const;

function isHandled(program: number, { number }: Row): boolean {
  return SERVED.get(program)?.get(number)?.handler !== undefined;
}

function isSent(name: string, event: EventMessage): boolean {
  if (DOMAIN_EVENTS.has(event)) return true;
  // Clients from before callbacks had numbers get the same kinds under the shorter name.
  const callback: Row | undefined = Object.entries(REMOTE_PROCEDURES).find(
    ([other]) => other === name.replace(/^domainEvent/, 'domainEventCallback'),
  )?.[1];
  if (callback?.kind === 'event' && callback !== event && DOMAIN_EVENTS.has(callback)) return true;
  return REGISTRATIONS.some(([pattern, program, row]) => pattern.test(name) && isHandled(program, row));
}

it('docs/protocol.md says what the tables and the server say', async () => {
  const program = (title: string, number: number, rows: Readonly<Record<string, Row>>) => ({
    title,
    number,
    rows,
    isServed: (name: string, row: Row) => (row.kind === 'event' ? isSent(name, row) : isHandled(number, row)),
  });
  const text = protocolDoc([
    program('REMOTE', Program.REMOTE, REMOTE_PROCEDURES),
    program('QEMU', Program.QEMU, QEMU_PROCEDURES),
    program('LXC', Program.LXC, LXC_PROCEDURES),
  ]);
  await expect(text).toMatchFileSnapshot('../docs/protocol.md');
});
