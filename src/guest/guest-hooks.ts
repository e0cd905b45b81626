/** The hook scripts of one guest: which operations libvirt calls them for, and what they are given. */
import type { Domain } from '../model/domain/domain.ts';
import type { HookScripts } from '../process/hook-scripts.ts';
import { guestDriverOf } from './cgroups/guest-tuning.ts';
import { formatWithoutSecrets } from './domain-report.ts';

/** Before a guest is started, in this order, and when it is found by a new daemon. Each can refuse. */
export type HookQuestion = 'prepare' | 'start' | 'started' | 'reconnect';
/** After its process has ended, and after all that it had is removed. */
export type HookNews = 'stopped' | 'release';

export class GuestHooks {
  readonly #scripts: HookScripts;
  readonly #domain: Domain;
  /** No scripts, no XML for them. */
  readonly #exist: boolean;

  constructor(scripts: HookScripts, domain: Domain) {
    this.#scripts = scripts;
    this.#domain = domain;
    this.#exist = scripts.has(guestDriverOf(domain));
  }

  /** @throws VirtError HOOK_SCRIPT_FAILED with the script's words */
  async ask(operation: HookQuestion, signal?: AbortSignal): Promise<void> {
    if (this.#exist) await this.#scripts.run(this.#call(operation, 'begin'), { signal });
  }

  async tell(operation: HookNews): Promise<void> {
    if (this.#exist) await this.#scripts.tell(this.#call(operation, 'end'));
  }

  #call(operation: string, subOperation: string): Parameters<HookScripts['run']>[0] {
    const { name = '-' } = this.#domain;
    return {
      driver: guestDriverOf(this.#domain),
      object: name,
      operation,
      subOperation,
      xml: formatWithoutSecrets(this.#domain),
    };
  }
}
