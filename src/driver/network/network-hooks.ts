/** Administrators' scripts for networks: when they are called, with what, and which of them may refuse. */
import { formatNetwork, type Network } from '../../model/network/network.ts';
import type { SiblingHooks } from '../siblings.ts';
import { describePort, type PortRecord } from './network-ports.ts';

/** Before or after something that the script may still refuse. */
type Question = 'start' | 'started' | 'port-created';
/** What has happened. */
type News = 'stopped' | 'updated' | 'port-deleted';

export class NetworkHooks {
  readonly #hooks: SiblingHooks | undefined;

  constructor(hooks: SiblingHooks | undefined) {
    this.#hooks = hooks;
  }

  /** @throws VirtError HOOK_SCRIPT_FAILED with the script's words */
  async ask(
    operation: Question,
    network: Network,
    { port, signal }: { readonly port?: PortRecord; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const hooks = this.#wanted();
    await hooks?.run(
      { object: network.name, operation, subOperation: 'begin', xml: describe(network, port) },
      { signal },
    );
  }

  async tell(operation: News, network: Network, port?: PortRecord): Promise<void> {
    const hooks = this.#wanted();
    const subOperation = operation === 'stopped' ? 'end' : 'begin';
    await hooks?.tell({ object: network.name, operation, subOperation, xml: describe(network, port) });
  }

  /** No scripts, no XML for them. */
  #wanted(): SiblingHooks | undefined {
    return this.#hooks?.has() === true ? this.#hooks : undefined;
  }
}

function describe(network: Network, port: PortRecord | undefined): string {
  const parts = [formatNetwork(network), ...(port === undefined ? [] : [describePort(port)])];
  const inner = parts.map((part) => part.trimEnd().replace(/^(?=.)/gm, '  ')).join('\n');
  return `<hookData>\n${inner}\n</hookData>\n`;
}
