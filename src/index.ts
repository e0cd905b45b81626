/** `nestling`: connect to a hypervisor and run guests. The one place where drivers are wired to URIs. */
import { Connection } from './api/connection.ts';
import { call } from './api/errors.ts';
import { parseUri } from './api/uri.ts';
import { ErrorCode, VirtError } from './core/errors.ts';
import { LOG_CHANNEL } from './core/log-source.ts';
import type { EmbeddedDriverOptions } from './driver/qemu/runtime/embedded-driver.ts';
import type { Log } from './log/log.ts';
import type { LogTexts } from './log/settings.ts';
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
export type { Log } from './log/log.ts';
export type { LogTexts } from './log/settings.ts';
export { VERSION } from './version.ts';

/** Options beyond the URI. */
export type ConnectOptions = Pick<EmbeddedDriverOptions, 'config' | 'cacheDir' | 'trace' | 'onNote' | 'onMark'> & {
  /** What to log and where, in libvirt's words; besides, `LIBVIRT_DEBUG` and its kin count as with libvirt. See also `openLog`. */
  readonly log?: LogTexts | undefined;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Opens a connection: `qemu:///embed` with a temporary root that is removed, or `qemu:///embed?root=/abs/path`.
 * @throws VirtError
 */
export async function connect(uri: string, options: ConnectOptions = {}): Promise<Connection> {
  const { signal, log: logTexts, ...rest } = options;
  return await call(async () => {
    signal?.throwIfAborted();
    const { root } = parseUri(uri);
    const { EmbeddedQemuDriver } = await import('./driver/qemu/runtime/embedded-driver.ts');
    const log = await logFor(logTexts);
    try {
      const driver = await EmbeddedQemuDriver.open({ ...rest, root, version: VERSION });
      // A configuration that asks for a log is weaker than options and environment.
      const isAsked = log === undefined && Object.keys(driver.logTexts).length > 0;
      return new Connection(driver, isAsked ? await logFor(driver.logTexts) : log);
    } catch (error) {
      log?.[Symbol.dispose]();
      throw error;
    }
  }, signal);
}

/**
 * Logs what the library does from now on, for all connections: `openLog({ filters: '1:qemu', outputs: '1:file:/tmp/debug.log' })`.
 * @throws LogSettingsError, or Error for an output that cannot be opened
 */
export async function openLog(texts: LogTexts): Promise<Log> {
  const { openLog: open } = await import('./log/open.ts');
  const log = await open({ outputs: '1:stderr', ...texts }, VERSION, { env: {} });
  if (log === undefined) throw new VirtError('the log has no output', { code: ErrorCode.INVALID_ARG });
  return log;
}

/** The environment counts once: not again for the second connection of a program that logs already. */
async function logFor(texts: LogTexts | undefined): Promise<Log | undefined> {
  const isAsked = ENVIRONMENT.some((name) => (process.env[name] ?? '') !== '') && !LOG_CHANNEL.hasSubscribers;
  if (texts === undefined && !isAsked) return undefined;
  const { openLog: open } = await import('./log/open.ts');
  return await open(texts ?? {}, VERSION, isAsked ? {} : { env: {} });
}

const ENVIRONMENT = ['LIBVIRT_DEBUG', 'LIBVIRT_LOG_FILTERS', 'LIBVIRT_LOG_OUTPUTS'];
