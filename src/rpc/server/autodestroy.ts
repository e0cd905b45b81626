/** Guests that end with the client that started them. */
import { LogSource } from '../../core/log-source.ts';
import type { DomainIdentity, Driver } from '../../driver/driver.ts';
import type { HandlerSession } from './handler.ts';

const log = new LogSource('daemon.remote');

/** Marks a guest that has just been started. A client that has gone meanwhile takes it along at once. */
export async function markForDestruction(session: HandlerSession, { uuid, id }: DomainIdentity): Promise<void> {
  if (session.signal.aborted) await destroyWithClient(session.driver, uuid, id);
  else session.autodestroy.set(uuid, id);
}

/** Ends the run with this id: one that somebody else has started since is none of this client's. Never rejects. */
export async function destroyWithClient(driver: Driver, uuid: string, id: number): Promise<void> {
  try {
    if ((await driver.lookupByUuid(uuid)).id === id) await driver.destroy(uuid);
  } catch (error) {
    // It has ended by itself, most likely.
    log.info('autodestroy', () => `${uuid}: ${String(error)}`);
  }
}
