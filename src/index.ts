/** `nestling`: connect to a hypervisor and run guests. The one place where drivers are wired to URIs. */
import { Connection } from './api/connection.ts';
import { call } from './api/errors.ts';
import { parseUri } from './api/uri.ts';
import type { EmbeddedDriverOptions } from './driver/qemu/runtime/embedded-driver.ts';
import { VERSION } from './version.ts';

export { Connection } from './api/connection.ts';
export { Console, type ConsoleOptions, type LinesOptions } from './api/console.ts';
export { Domain, type Waiting } from './api/domain.ts';
export { ListDomainsFlag, XmlFlag } from './api/flags.ts';
export { ErrorCode, ErrorDomain, type ErrorLevel, VirtError } from './core/errors.ts';
export type { DomainEvent, LifecycleDetail, LifecycleType } from './driver/domain-events.ts';
export { DomainState, STATE_NAMES, StateReason } from './driver/domain-state.ts';
export type {
  AffectOptions,
  ConsoleChoice,
  CreateOptions,
  DomainCapabilitiesQuery,
  DomainFilter,
  DomainInfo,
  DomainStateAndReason,
  DomainStop,
  IothreadPin,
  TypedParameters,
  UndefineOptions,
  XmlOptions,
} from './driver/driver.ts';
export { VERSION } from './version.ts';

/** Options beyond the URI. */
export type ConnectOptions = Pick<EmbeddedDriverOptions, 'config' | 'cacheDir' | 'trace' | 'onNote' | 'onMark'> & {
  readonly signal?: AbortSignal | undefined;
};

/**
 * Opens a connection: `qemu:///embed` with a temporary root that is removed, or `qemu:///embed?root=/abs/path`.
 * @throws VirtError
 */
export async function connect(uri: string, options: ConnectOptions = {}): Promise<Connection> {
  const { signal, ...rest } = options;
  return await call(async () => {
    signal?.throwIfAborted();
    const { root } = parseUri(uri);
    const { EmbeddedQemuDriver } = await import('./driver/qemu/runtime/embedded-driver.ts');
    return new Connection(await EmbeddedQemuDriver.open({ ...rest, root, version: VERSION }));
  }, signal);
}
