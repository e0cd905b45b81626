/** Which drivers stand beside a hypervisor driver, and when they are loaded. The one place that knows all of them. */
import { DisposalStack } from '../core/dispose.ts';
import type { SiblingOptions, Siblings } from './siblings.ts';

export function openSiblings(_options: SiblingOptions): Siblings {
  const stack = new DisposalStack();
  return {
    takeOver: async () => {},
    autostart: async () => {},
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}
